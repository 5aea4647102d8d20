"""Cuts a text into chunks: the pieces that are embedded, found and cited. Pure."""

import re
from collections.abc import Iterator

__all__ = ["CHUNK_LENGTH", "chunk"]

CHUNK_LENGTH = 1000
"""Characters; about 250 tokens of English, which is what the default embedder reads."""

_PARAGRAPH_END = re.compile(r"\n[ \t]*\n")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s")
_LINE_END = re.compile(r"\n")
_SPACE = re.compile(r"\s")
_BORDERS = (_PARAGRAPH_END, _SENTENCE_END, _LINE_END, _SPACE)
"""From the best place to cut to the worst; a word longer than a chunk is cut anywhere."""


def chunk(text: str, *, length: int = CHUNK_LENGTH) -> list[str]:
    """Pieces of at most `length` characters that together are the text, but for white space at their ends.

    A piece ends where a paragraph does if it can, else a sentence, a line, a word. Pieces don't overlap: each character
    is cited from one place.
    """
    pieces = (piece.strip("\n").rstrip() for piece in _cut(text, length))
    return [piece for piece in pieces if piece.strip()]


def _cut(text: str, length: int) -> Iterator[str]:
    start = 0
    while len(text) - start > length:
        end = _best_end(text, start, length)
        yield text[start:end]
        start = end
    yield text[start:]


def _best_end(text: str, start: int, length: int) -> int:
    """The last border of the best kind in the second half of the window, so that no chunk is a crumb."""
    for border in _BORDERS:
        ends = [match.end() for match in border.finditer(text, start + length // 2, start + length)]
        if ends:
            return ends[-1]
    return start + length
