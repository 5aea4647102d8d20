"""Search in what was said: a full-text index in memory, made for one question and thrown away.

SQLite's own, whatever database the transcripts are in, so that they need no index that is kept up with every message.
"""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from orchestrator.passages import Passage

__all__ = ["PIECE", "Said", "best_passages"]

PIECE = 1_200
"""Characters of a passage at most."""
MOST_TERMS = 64

_WORD = re.compile(r"[^\W_]+")

_COMMON = frozenset(
    _WORD.findall(
        """a about an and are as at be by can did do does for from had has have how i if in is it its me my no not of on
        or our so that the their them then there they this to was we were what when where which who why will with would
        you your"""
    )
)
"""Words that say nothing of what is looked for; among few passages, chance may make them rare."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """Something that can be found."""

    id: str
    who: str
    text: str


def best_passages(said: Sequence[Said], query: str, k: int) -> list[Passage]:
    """The `k` passages that fit the words of a query best, best first; by BM25, and with English word forms."""
    words = list(dict.fromkeys(_WORD.findall(query.lower())))
    terms = ([word for word in words if word not in _COMMON] or words)[:MOST_TERMS]
    pieces = [(each, number, piece) for each in said for number, piece in enumerate(_pieces(each.text))]
    if not terms or not pieces:
        return []
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE VIRTUAL TABLE pieces USING fts5(text, tokenize='porter unicode61')")
        connection.executemany(
            "INSERT INTO pieces(rowid, text) VALUES (?, ?)",
            ((place, piece) for place, (_, _, piece) in enumerate(pieces)),
        )
        found: list[tuple[int, float]] = connection.execute(
            "SELECT rowid, bm25(pieces) FROM pieces WHERE pieces MATCH ? ORDER BY bm25(pieces), rowid LIMIT ?",
            (" OR ".join(f'"{term}"' for term in terms), k),
        ).fetchall()
    passages: list[Passage] = []
    for place, score in found:
        each, number, piece = pieces[place]
        passages.append(Passage(id=f"{each.id}#{number}", document=each.who, text=piece, score=-score))
    return passages


def _pieces(text: str) -> Iterator[str]:
    """The whole text in order, cut where a paragraph, a line or a word ends, if one does in the piece's second half."""
    begin = 0
    while begin < len(text):
        end = min(begin + PIECE, len(text))
        if end < len(text):
            ends = (text.rfind(mark, begin + PIECE // 2, end) for mark in ("\n\n", "\n", " "))
            end = next((place + 1 for place in ends if place >= 0), end)
        if piece := text[begin:end].strip():
            yield piece
        begin = end
