from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator_retrieval.chunking import CHUNK_LENGTH, chunk

PROSE = st.text(alphabet="ab. \n\t!?é", max_size=600)


@settings(deadline=None)
@given(PROSE, st.integers(min_value=2, max_value=120))
def test_nothing_but_white_space_at_borders_is_lost_and_no_chunk_is_too_long(text: str, length: int) -> None:
    pieces = chunk(text, length=length)
    assert all(piece.strip() and len(piece) <= length for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_a_chunk_ends_with_a_paragraph_else_a_sentence_else_a_word() -> None:
    paragraphs = "\n\n".join(f"Paragraph {number} says something. It goes on." for number in range(60))
    assert all(piece.endswith("It goes on.") and piece.startswith("Paragraph") for piece in chunk(paragraphs))
    sentences = " ".join(f"Sentence {number} of one long paragraph." for number in range(80))
    assert all(piece.endswith("paragraph.") and piece.startswith("Sentence") for piece in chunk(sentences))
    assert all(set(piece.split()) == {"word"} for piece in chunk("word " * 900))


def test_a_short_text_is_one_chunk_and_a_long_one_has_no_crumbs() -> None:
    assert chunk("  Indented.\n") == ["  Indented."]
    pieces = chunk("\n\n".join("x" * size for size in (10, 900, 10, 900, 10)))
    assert all(len(piece) > CHUNK_LENGTH // 2 - 20 for piece in pieces[:-1])
