from hypothesis import given
from hypothesis import strategies as st

from orchestrator.testing.tokenizer import IM_END, IM_START, SPECIAL_TOKENS, decode, encode, piece

_text = st.lists(st.text() | st.sampled_from(sorted(SPECIAL_TOKENS))).map("".join)


@given(_text)
def test_any_text_comes_back(text: str) -> None:
    assert decode(encode(text)) == text


@given(_text)
def test_pieces_are_the_text_without_special_tokens(text: str) -> None:
    ids = encode(text)
    assert "".join(map(piece, ids)) == decode(ids, skip_special_tokens=True)


@given(_text, _text)
def test_what_follows_a_turn_or_a_line_leaves_the_ids_before_it_alone(first: str, second: str) -> None:
    for turn in (first + "<|im_end|>", first + "\n"):
        assert encode(turn + second) == encode(turn) + encode(second)


@given(_text)
def test_ids_fit_in_31_bits(text: str) -> None:
    assert all(0 <= token < 2**31 for token in encode(text))


def test_special_tokens_are_one_token() -> None:
    assert encode("<|im_start|>user\n<|im_end|>")[0] == IM_START
    assert encode("<|im_start|>user\n<|im_end|>")[-1] == IM_END


def test_english_has_about_four_characters_a_token() -> None:
    text = "Durable reasoning workflows, with the true cost of every completed run.\n" * 100
    assert 3.5 < len(text) / len(encode(text)) <= 4


@given(st.lists(st.integers(min_value=0, max_value=2**31 - 1)))
def test_ids_that_no_text_has_are_passed_over(ids: list[int]) -> None:
    decode(ids)
