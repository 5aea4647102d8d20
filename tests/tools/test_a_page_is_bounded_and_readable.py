import asyncio
import gzip
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidInput, ToolFailed
from orchestrator_tools.web import Addresses, Fetcher, Page
from orchestrator_tools.web.body import decoded, read
from orchestrator_tools.web.readable import readable
from tests.tools.site import Answer, answer, site

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

MAX_BYTES = 50_000


async def _fetch(found: Answer, *, timeout: float = 5, **more: int | bool) -> Page:
    async with site({"/": found}) as up:
        fetcher = Fetcher(
            [f"127.0.0.1:{up.port}"],
            max_bytes=MAX_BYTES,
            timeout=timedelta(seconds=timeout),
            addresses=Addresses(["127.0.0.1/32"]),
        )
        return await fetcher.fetch(f"http://127.0.0.1:{up.port}/", **more)  # pyright: ignore[reportArgumentType]


async def _endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def test_a_long_page_is_read_in_parts() -> None:
    text = "".join(f"{n:05}" for n in range(5_000))
    first = await _fetch(answer(text), characters=10_000)
    assert (first.text, first.next_start, first.note) == (text[:10_000], 10_000, None)
    last = await _fetch(answer(text), start=20_000)
    assert (last.text, last.next_start) == (text[20_000:], None)
    with pytest.raises(InvalidInput, match="start=25001 is past the end of the text, at 25000"):
        await _fetch(answer(text), start=25_001)


@pytest.mark.parametrize("length", [{}, {"content_length": "0999999999"}])
async def test_no_more_is_read_than_the_limit(length: dict[str, str]) -> None:
    page = await _fetch(answer("é" * MAX_BYTES, **length), characters=10**6)
    assert page.text == "é" * (MAX_BYTES // 2)
    assert page.note == "the page is longer: only its first 50,000 bytes were read"


async def test_a_page_that_never_ends_is_cut() -> None:
    page = await _fetch(_endless, characters=10**6)
    assert len(page.text) == MAX_BYTES
    assert page.note is not None


async def test_a_page_that_trickles_in_is_given_up() -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    began = time.perf_counter()
    with pytest.raises(ToolFailed, match=r"couldn't be read within 0\.3 s"):
        await _fetch(trickle, timeout=0.3)
    assert time.perf_counter() - began < 2


async def test_a_server_that_says_nothing_is_given_up() -> None:
    async def silence(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.6)

    with pytest.raises(ToolFailed, match=r"couldn't be read within 0\.3 s"):
        await _fetch(silence, timeout=0.3)


async def test_a_header_without_end_is_given_up() -> None:
    async def header(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x: " + b"y" * 60_000 + b"\r\n")
            await writer.drain()

    with pytest.raises(ToolFailed, match="RemoteProtocolError"):
        await _fetch(header)


@pytest.mark.parametrize("found", [b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"])
async def test_a_broken_answer_is_a_failure(found: bytes) -> None:
    with pytest.raises(ToolFailed, match="couldn't be read"):
        await _fetch(found)


async def test_what_is_packed_is_unpacked() -> None:
    packed = gzip.compress(b"hello " * 100)
    assert (await _fetch(answer(packed, content_encoding="gzip"))).text == "hello " * 100


async def test_a_gzip_bomb_is_cut() -> None:
    bomb = gzip.compress(b"x" * 10**7)
    assert len(bomb) < MAX_BYTES
    began = time.perf_counter()
    page = await _fetch(answer(bomb, content_encoding="gzip"), characters=10**9)
    assert len(page.text) == MAX_BYTES
    assert page.note is not None
    assert time.perf_counter() - began < 2


async def test_unpacking_takes_no_more_memory_than_what_is_asked_for() -> None:
    bomb = gzip.compress(b"x" * 10**7)

    async def chunks() -> AsyncIterator[bytes]:
        yield bomb

    tracemalloc.start()
    try:
        body, cut = await read(chunks(), encoding="gzip", most=MAX_BYTES)
        assert (len(body), cut) == (MAX_BYTES, True)
        assert tracemalloc.get_traced_memory()[1] < 10 * MAX_BYTES
    finally:
        tracemalloc.stop()


async def test_what_unpacks_to_nothing_is_bounded_too() -> None:
    pack = zlib.compressobj(wbits=31)
    head = pack.compress(b"") + pack.flush(zlib.Z_SYNC_FLUSH)
    empty_block = b"\x00\x00\x00\xff\xff"
    came = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal came
        yield head
        while True:
            came += 5_000
            yield empty_block * 1_000

    assert await read(chunks(), encoding="gzip", most=MAX_BYTES) == (b"", True)
    assert came <= MAX_BYTES + 5_000


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "x"])
async def test_what_is_packed_otherwise_is_a_failure(encoding: str) -> None:
    with pytest.raises(ToolFailed, match="which wasn't asked for"):
        await _fetch(answer("x", content_encoding=encoding))


async def test_what_can_not_be_unpacked_is_a_failure() -> None:
    with pytest.raises(ToolFailed, match="can't be unpacked"):
        await _fetch(answer("not gzip at all", content_encoding="gzip"))


NO_TEXT = [
    *("image/png", "video/mp4", "application/pdf", "application/octet-stream", "application/zip", "multipart/mixed"),
    *("application/vnd.ms-excel", "text/", "nonsense"),
]


@pytest.mark.parametrize("kind", NO_TEXT)
async def test_what_is_no_text_is_refused_before_it_is_read(kind: str) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\n".encode())
        await writer.drain()
        await asyncio.sleep(1)

    began = time.perf_counter()
    with pytest.raises(InvalidInput, match="is no text but"):
        await _fetch(endless)
    assert time.perf_counter() - began < 0.9


@pytest.mark.parametrize("kind", ["text/csv", "application/json", "application/ld+json; charset=utf-8", "text/xml"])
async def test_text_of_other_kinds_is_given_as_it_is(kind: str) -> None:
    assert (await _fetch(answer("<a>1</a>", kind=kind))).text == "<a>1</a>"


@pytest.mark.parametrize("kind", [None, "text/plain"])
async def test_what_only_says_that_it_is_text_is_refused(kind: str | None) -> None:
    with pytest.raises(InvalidInput, match="what is there is no text"):
        await _fetch(answer(b"\x89PNG\r\n\x1a\n\x00\x00", kind=kind))
    assert (await _fetch(answer("plain", kind=None))).text == "plain"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("é".encode(), "text/plain"),
        ("é".encode("latin-1"), "text/plain; charset=ISO-8859-1"),
        ("é".encode("cp1252"), 'text/plain; charset="windows-1252"'),
        ("é".encode("utf-16"), "text/plain"),
        ("é".encode("utf-8-sig"), "text/plain; charset=iso-8859-1"),
        ('<meta charset="iso-8859-1">é'.encode("latin-1"), "text/html"),
        ('<meta http-equiv=x content="text/html; charset=iso-8859-1">é'.encode("latin-1"), "text/html"),
        ("é".encode(), "text/plain; charset=unheard-of"),
        ("é".encode(), "text/plain; charset=unicode_escape"),
        ("é".encode(), "text/plain; charset=rot13"),
        ("é".encode(), "text/plain; charset=punycode"),
        ("é".encode(), "text/plain; charset=" + "x" * 10_000),
    ],
)
def test_the_charset_is_that_of_the_page(body: bytes, kind: str) -> None:
    assert decoded(body, kind).endswith("é")


def test_what_is_broken_in_a_charset_is_marked() -> None:
    assert decoded(b"a\xffb", "text/plain; charset=utf-8") == "a\ufffdb"


PAGE = """<!doctype html><html><head><title> News &amp;
 more </title><style>p { color: red }</style><script>if (a < b) document.write("</div><p>no</p>")</script></head>
<body><!-- hidden <p>no</p> --><nav><a href="/">Home</a></nav>
<h1>Big <b>news</b></h1><p>One   two
three<br>four <a href='/c?d=1&amp;e=2' title="a > b">link</a>.</p>
<ul><li>first<li>second</li></ul>
<table><tr><th>x</th><th>y</th></tr><tr><td>1</td><td>2</td></tr></table>
<pre>
def f():
    return 1 &lt; 2
</pre><noscript>no</noscript><svg><text>no</text></svg><p>a < b &#99999999999; &eacute;</p><a href="javascript:x">y</a>
"""
TEXT = """Home

# Big news

One two three
four link.

- first
- second

x | y |
1 | 2 |

def f():
    return 1 < 2

a < b \ufffd é

y"""


def test_html_is_made_readable() -> None:
    page = readable(PAGE, base="https://example.org/a/b")
    assert (page.title, page.text) == ("News & more", TEXT)


def test_the_addresses_of_links_are_given_where_they_are_asked_for() -> None:
    text = readable(PAGE, base="https://example.org/a/b", links=True).text
    assert text == TEXT.replace("Home", "Home <https://example.org/>").replace(
        "link.", "link <https://example.org/c?d=1&e=2>."
    )


async def test_a_page_of_html_comes_readable_with_its_title() -> None:
    page = await _fetch(answer(PAGE, kind="text/html; charset=utf-8"))
    assert (page.title, page.text) == ("News & more", TEXT)


@given(st.text(alphabet="<>/!-?&#;=\"' aAbp\n", max_size=60) | st.text(max_size=40))
def test_no_page_is_too_broken(page: str) -> None:
    found = readable(page, base="https://example.org/", links=True)
    assert len(found.text) <= 60 * (len(page) + 1)


PIECES = [
    *("<", "<a", "<!--", "<a b='", '<a b="', "<a ", "<a b", "<!", "</", "<script>", "<title>", "<svg>", "&", "&#9"),
    *("&amp", "<a href=x>", "<p>", "<a b=c", " b", "=", "<pre>", "<a b= ", "</title ", "<textarea></textare", "\n"),
]


@pytest.mark.parametrize("number", ["9" * 5_000, "x" + "f" * 5_000, "0" * 5_000 + "65"])
def test_a_number_that_python_refuses_to_read_is_no_character(number: str) -> None:
    assert readable(f"<p>a&#{number};b", base="https://example.org/").text == "a\ufffdb"


@pytest.mark.parametrize("end", ["", ">"])
@pytest.mark.parametrize("piece", PIECES)
def test_no_page_takes_long(piece: str, end: str) -> None:
    """Were the time to grow with the square of the size, as that of `html.parser` may, it would be minutes."""
    page = piece * (400_000 // len(piece)) + end
    began = time.process_time()
    readable(page, base="https://example.org/", links=True)
    assert time.process_time() - began < 2
