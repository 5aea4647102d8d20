"""From the bytes of a response to text: never more than asked for, whatever the bytes unpack to."""

import codecs
import re
import zlib
from collections.abc import AsyncIterable

from orchestrator.errors import InvalidInput, ToolFailed
from orchestrator_tools.web.allowed import NAME, TOOL

__all__ = ["ENCODINGS", "decoded", "is_text", "read"]

ENCODINGS = "gzip"
"""What a server may pack with."""

_TEXT = re.compile(r"text/.+|application/([\w.+-]+\+)?(json|xml)|application/(x-ndjson|yaml|x-yaml|toml|javascript)")
_META = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_CHARSET = re.compile(
    r"ascii|utf-(8|8-sig|16|16-le|16-be)|iso8859-\d+|cp(125\d|866|874|932|949|950)|gb18030|gbk|gb2312|big5|big5hkscs"
    r"|euc_(jp|kr)|shift_jis|iso2022_jp|koi8-[ru]|mac-roman|tis-620"
)
"""Python's names of the charsets of the web. Python knows others that no page is written in, some of them slow."""


def is_text(content_type: str) -> bool:
    """Whether a model could read it. What says nothing of itself is looked at instead, by `decoded`."""
    kind = content_type.partition(";")[0].strip().lower()
    return not kind or _TEXT.fullmatch(kind) is not None


async def read(chunks: AsyncIterable[bytes], *, encoding: str, most: int) -> tuple[bytes, bool]:
    """The first bytes of a body, unpacked, and whether there were more.

    Args:
        chunks: as they come from the network.
        encoding: how they are packed.
        most: bytes to read, and bytes to give.

    Raises:
        ToolFailed: they are packed in a way that wasn't asked for, or can't be unpacked.
    """
    if encoding.strip().lower() not in ("", "identity", "gzip", "x-gzip"):
        raise ToolFailed(TOOL, f"the server packed its answer with {encoding!r}, which wasn't asked for")
    unpack = zlib.decompressobj(16 + zlib.MAX_WBITS) if "gzip" in encoding.lower() else None
    came, body = 0, bytearray()
    async for chunk in chunks:
        came += len(chunk)
        try:
            body += chunk if unpack is None else unpack.decompress(chunk, most + 1 - len(body))
        except zlib.error as error:
            raise ToolFailed(TOOL, f"the server's answer can't be unpacked ({error})") from error
        if len(body) > most or came > most:
            return bytes(body[:most]), True
    return bytes(body), False


def decoded(body: bytes, content_type: str) -> str:
    """A body as text, in the charset of its mark, its header or its own `<meta>`, or else UTF-8.

    Raises:
        InvalidInput: it is no text.
    """
    text = body.decode(_charset(body, content_type), errors="replace")
    if "\0" in text:
        raise InvalidInput(NAME, "what is there is no text")
    return text


def _charset(body: bytes, content_type: str) -> str:
    for mark, charset in _MARKS:
        if body.startswith(mark):
            return charset
    said = re.search(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", content_type, re.IGNORECASE)
    meta = None if said else _META.search(body[:1024])
    name = said[1] if said else meta[1].decode("ascii", "replace") if meta else "utf-8"
    try:
        charset = codecs.lookup(name).name
    except (LookupError, ValueError):
        return "utf-8"
    # The web's Latin-1 is windows-1252 (WHATWG Encoding, 4.2).
    return "cp1252" if charset in ("iso8859-1", "ascii") else charset if _CHARSET.fullmatch(charset) else "utf-8"
