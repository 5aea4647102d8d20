"""HTML as text that a model can read: headings, paragraphs, lists and tables, without the markup.

A scanner rather than `html.parser`, because a hostile page can make that one take time that grows with the square of
its size (CVE-2025-6069). Here each search that finds nothing ends the page, so that the time is linear. Pure.
"""

import html
import re
from dataclasses import dataclass
from urllib.parse import urljoin

__all__ = ["Readable", "readable"]

_DROPPED = frozenset({"script", "style", "noscript", "template", "svg", "iframe", "object", "noframes", "noembed"})
_RAW = _DROPPED | {"title", "textarea"}
"""Elements within which markup is not looked for."""
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_PARAGRAPHS = frozenset({"p", "pre", "blockquote", "ul", "ol", "dl", "table", "figure", "section", "article", "hr"})
_LINES = frozenset(
    {"address", "aside", "body", "br", "dd", "details", "div", "dt", "figcaption", "footer", "form", "header", "head"}
    | {"legend", "li", "main", "nav", "option", "summary", "tbody", "thead", "tfoot", "title", "tr", "caption"}
)

_MARKUP = re.compile(r"<(?=[!?]|/?[a-zA-Z])")
_ATTRIBUTE = r"[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s>]++)?+)?+"
_TAG = re.compile(rf"<(/?)([a-zA-Z][^\s/>]*+)((?:[\s/]++|{_ATTRIBUTE})*+)>")
_HREF = re.compile(r"(?:^|[\s/])href\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>]+))", re.IGNORECASE)
_LONG_NUMBER = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{8,});?")


@dataclass(frozen=True, kw_only=True)
class Readable:
    """A page's text."""

    title: str
    text: str


def readable(page: str, *, base: str, links: bool = False) -> Readable:
    """What a page says.

    Args:
        page: its HTML, however broken.
        base: the URL that its links are relative to.
        links: whether the address of a link follows its words.
    """
    writer, title = _Writer(base if links else None), ""
    position = 0
    while markup := _MARKUP.search(page, position):
        opened = markup.start()
        writer.text(page[position:opened])
        if page.startswith("<!--", opened):
            position = _after(page, "-->", opened + 2)
        elif page[opened + 1 : opened + 2] in ("!", "?"):
            position = _after(page, ">", opened)
        elif (tag := _TAG.match(page, opened)) is None:
            position = len(page)
        else:
            name, position = tag[2].lower(), tag.end()
            inside = ""
            if name in _RAW and not tag[1]:
                ended = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE).search(page, position)
                inside = page[position : ended.start() if ended else len(page)]
                position = ended.start() if ended else len(page)
            if name == "title":
                title = title or " ".join(_unescaped(inside).split())
            elif name not in _DROPPED:
                writer.tag(name, closes=bool(tag[1]), attributes=tag[3])
                writer.text(inside)
    writer.text(page[position:])
    return Readable(title=title, text=writer.finished())


def _after(page: str, mark: str, position: int) -> int:
    found = page.find(mark, position)
    return len(page) if found < 0 else found + len(mark)


def _unescaped(text: str) -> str:
    # Python refuses to read numbers of thousands of digits; no character has one of eight.
    return html.unescape(_LONG_NUMBER.sub("\ufffd", text))


class _Writer:
    """Collects words into lines and paragraphs."""

    def __init__(self, base: str | None) -> None:
        self._base = base
        self._parts: list[str] = []
        self._breaks = 2
        """Line breaks at the end of what is written, two at most."""
        self._space = False
        """Whether a space is due before the next word."""
        self._verbatim = 0
        self._links: list[str] = []

    def text(self, text: str) -> None:
        if not text:
            return
        text = _unescaped(text)
        if self._verbatim and text.strip():
            self._write(text.strip("\n") if self._breaks else text.rstrip("\n"))
            if text.endswith("\n"):
                self._break(1)
        elif words := " ".join(text.split()):
            self._space |= text[0].isspace()
            self._write(words)
            self._space = text[-1].isspace()
        else:
            self._space = True

    def tag(self, name: str, *, closes: bool, attributes: str) -> None:
        if name in _HEADINGS or name in _PARAGRAPHS:
            self._break(2)
        elif name in _LINES:
            self._break(1)
        elif name in ("td", "th") and closes:
            self._write(" |")
            self._space = True
        if name == "pre":
            self._verbatim = max(self._verbatim + (-1 if closes else 1), 0)
        elif name in _HEADINGS and not closes:
            self._mark("#" * _HEADINGS[name])
        elif name == "li" and not closes:
            self._mark("-")
        elif name == "a" and self._base is not None:
            self._link(closes, attributes)

    def finished(self) -> str:
        return "".join(self._parts).strip()

    def _link(self, closes: bool, attributes: str) -> None:
        if closes:
            if self._links and (address := self._links.pop()):
                self._write(f" <{address}>")
            return
        found = _HREF.search(attributes)
        self._links.append(self._address(_unescaped(next(filter(None, found.groups()), ""))) if found else "")

    def _address(self, link: str) -> str:
        try:
            address = urljoin(self._base or "", link.strip())
        except ValueError:
            return ""
        return address if address.startswith(("http://", "https://")) and not link.startswith("#") else ""

    def _mark(self, mark: str) -> None:
        self._parts.append(f"{mark} ")

    def _write(self, text: str) -> None:
        if self._space and not self._breaks:
            self._parts.append(" ")
        self._parts.append(text)
        self._breaks, self._space = 0, False

    def _break(self, breaks: int) -> None:
        if breaks > self._breaks:
            self._parts.append("\n" * (breaks - self._breaks))
            self._breaks = breaks
        self._space = False
