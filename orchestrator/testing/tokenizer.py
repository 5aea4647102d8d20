"""A tokenizer without a vocabulary: reversible, the same in every process, about four characters a token.

Imports nothing but the standard library. A token id is four bytes, read as a little-endian number below 2^31:

| token | first byte | the other three |
|---|---|---|
| four ASCII characters | below 0x80 | three of the characters |
| the last 1 to 3 ASCII characters of a run | 0x80 + how many | the characters, then zeros |
| one character that isn't ASCII | 0x90 | its code point |
| a special token | 0xA0 | its number |

Runs begin anew after every special token and every line break. So a prompt's ids are a prefix of the ids of whatever
continues it after `<|im_end|>` or a line's end, as with the models' own tokenizers.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from struct import pack, unpack

__all__ = ["IM_END", "IM_START", "SPECIAL_TOKENS", "decode", "encode", "piece"]

IM_START, IM_END = 0xA0, 0x1A0
SPECIAL_TOKENS = {"<|im_start|>": IM_START, "<|im_end|>": IM_END}

_SPECIAL_TEXTS = {token: text for text, token in SPECIAL_TOKENS.items()}
_SPECIAL = re.compile("(" + "|".join(map(re.escape, SPECIAL_TOKENS)) + ")")
_RUNS = re.compile(r"[\x00-\x09\x0b-\x7f]*\n|[\x00-\x09\x0b-\x7f]+|[^\x00-\x7f]")


def encode(text: str) -> list[int]:
    """The ids of `text`; the texts of special tokens in it become special tokens."""
    ids: list[int] = []
    for part in _SPECIAL.split(text):
        if part in SPECIAL_TOKENS:
            ids.append(SPECIAL_TOKENS[part])
        else:
            for run in _RUNS.findall(part):
                ids += _encode_ascii(run) if run.isascii() else [0x90 | ord(run) << 8]
    return ids


def decode(ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
    """The text of `ids`; ids that `encode` never gives are passed over, as the real server does."""
    return "".join(_decode(ids, skip_special_tokens))


def piece(token: int) -> str:
    """The text of one token; empty for a special token, as in what an engine generates."""
    if not token & 0x80:
        return _decode_ascii([token])
    kind, rest = token & 0xFF, token >> 8
    if kind == 0x90 and rest <= 0x10FFFF:
        return chr(rest)
    if kind in (0x81, 0x82, 0x83):
        return pack("<I", rest)[: kind & 3].decode("ascii", "ignore")
    return ""


def _encode_ascii(text: str) -> list[int]:
    data = text.encode("ascii")
    count, left = divmod(len(data), 4)
    ids = list(unpack(f"<{count}I", data[: 4 * count]))
    if left:
        ids.append(int.from_bytes(bytes([0x80 | left]) + data[4 * count :], "little"))
    return ids


def _decode(ids: Sequence[int], skip_special_tokens: bool) -> Iterator[str]:
    """Long runs of whole groups at once: a prompt of 200,000 tokens takes milliseconds."""
    marked = [-1, *(place for place, token in enumerate(ids) if token & 0x80), len(ids)]
    for before, place in pairwise(marked):
        if place > before + 1:
            yield _decode_ascii(ids[before + 1 : place])
        if place < len(ids):
            token = ids[place]
            special = _SPECIAL_TEXTS.get(token)
            if special is None:
                yield piece(token)
            elif not skip_special_tokens:
                yield special


def _decode_ascii(ids: Sequence[int]) -> str:
    return pack(f"<{len(ids)}I", *ids).decode("ascii", "ignore")
