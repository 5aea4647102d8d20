import os
import shutil
import socket
import stat
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Tool
from orchestrator.errors import ConfigurationError, InvalidInput
from orchestrator_tools import files
from orchestrator_tools.files import FilePage, Listing
from tests.tools.context import Alone

SECRET = "a secret"
DESCRIPTORS = Path("/proc/self/fd")


class Granted:
    """The tools for a folder, called as a run calls them: with JSON."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.folder = folder
        self._tools = {tool.name: tool for tool in files(folder, write=True, **more)}

    async def list(self, path: str = "") -> Listing:
        return await self._call("list_files", folder_path=path)

    async def read(self, path: str, **more: int) -> FilePage:
        return await self._call("read_file", path=path, **more)

    async def write(self, path: str, content: str) -> str:
        return await self._call("write_file", path=path, content=content)

    async def _call(self, name: str, **arguments: Any) -> Any:
        tool: Tool[..., Any] = self._tools[name]
        result = await tool.function(Alone(), **tool.parse(tool.bind(**arguments)))
        assert len(tool.result.dump_json(result)) <= tool.max_result
        return result


@pytest.fixture
def granted(tmp_path: Path) -> Granted:
    """A folder with a few files, beside one with a secret."""
    folder = tmp_path / "granted"
    (folder / "notes" / "old").mkdir(parents=True)
    (folder / "a.txt").write_text("Hello")
    (folder / "notes" / "today.md").write_text("# Today\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text(SECRET)
    (tmp_path / "secret.txt").write_text(SECRET)
    return Granted(folder)


def _names(folder: Path) -> Sequence[str]:
    return sorted(each.name for each in folder.iterdir())


def test_only_what_is_granted_is_offered(tmp_path: Path) -> None:
    assert [(tool.name, tool.effect) for tool in files(tmp_path)] == [("list_files", "read"), ("read_file", "read")]
    assert [(tool.name, tool.effect) for tool in files(str(tmp_path), write=True)] == [
        ("list_files", "read"),
        ("read_file", "read"),
        ("write_file", "write"),
    ]


async def test_files_are_listed_read_and_written(granted: Granted) -> None:
    assert await granted.list() == Listing(folders=["notes"], files={"a.txt": 5})
    assert await granted.list("notes/") == Listing(folders=["old"], files={"today.md": 8})
    assert await granted.read("./notes//today.md") == FilePage(text="# Today\n", size=8)
    assert await granted.write("new/deep/b.txt", "wörld") == "new/deep/b.txt has 6 bytes now"
    assert (granted.folder / "new" / "deep" / "b.txt").read_bytes() == "wörld".encode()
    await granted.write("a.txt", "other")
    assert await granted.read("a.txt") == FilePage(text="other", size=5)
    assert {each.name for each in granted.folder.rglob("*")} >= {"a.txt", "b.txt"}
    assert not list(granted.folder.rglob("*.draft"))


WAYS_OUT = [
    "..",
    "../secret.txt",
    "notes/../../secret.txt",
    "notes/../a.txt",
    "./../secret.txt",
    "notes/..",
    "../granted/a.txt",
    "/etc/passwd",
    "//etc/passwd",
    "/",
    "\0",
    "a.txt\0",
    "a\nb",
    "\ud800",
    "x" * 256,
    "/".join(["x"] * 40),
]


@pytest.mark.parametrize("path", WAYS_OUT)
async def test_a_path_that_leads_out_is_refused(granted: Granted, path: str) -> None:
    for call in (granted.list(path), granted.read(path), granted.write(path, "x")):
        with pytest.raises(InvalidInput, match=r"tool '(list_files|read_file|write_file)'"):
            await call
    assert _names(granted.folder) == ["a.txt", "notes"]


@pytest.mark.parametrize("path", ["", ".", "notes", "notes/", "a.txt/"])
async def test_what_names_no_file_is_neither_read_nor_written(granted: Granted, path: str) -> None:
    for call in (granted.read(path), granted.write(path, "x")):
        with pytest.raises(InvalidInput, match=r"names no file|is a folder"):
            await call


@pytest.mark.parametrize("path", ["none.txt", "none/none.txt", "a.txt/none.txt"])
async def test_what_is_not_there_is_said_so(granted: Granted, path: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not there|has a file or a link on the way"):
        await granted.read(path)
    with pytest.raises(InvalidInput, match=r"is not there|has a file or a link on the way"):
        await granted.list(path)


def _link(granted: Granted, name: str, target: str | Path) -> None:
    (granted.folder / name).symlink_to(target)


TARGETS = ["../secret.txt", "../outside/secret.txt", "/etc/passwd", "a.txt", "notes/today.md", "nowhere", "link"]


@pytest.mark.parametrize("target", TARGETS)
async def test_a_link_is_not_followed_wherever_it_points(granted: Granted, target: str) -> None:
    _link(granted, "link", target)
    for call in (granted.read("link"), granted.write("link", "x")):
        with pytest.raises(InvalidInput, match="is a link, and links aren't followed"):
            await call
    listed = await granted.list()
    assert "link" not in listed.files
    assert listed.note == "1 links or devices, which can't be read, are left out"
    assert (granted.folder / "link").is_symlink()
    assert (granted.folder.parent / "secret.txt").read_text() == SECRET


@pytest.mark.parametrize("target", ["..", "../outside", "/", "notes", "."])
async def test_a_link_to_a_folder_is_not_followed_wherever_it_points(granted: Granted, target: str) -> None:
    _link(granted, "link", target)
    for path in ("link/secret.txt", "link/today.md", "link/granted/a.txt", "link/a.txt", "link/new/x.txt"):
        for call in (granted.read(path), granted.write(path, "x")):
            with pytest.raises(InvalidInput, match=r"links? on the way|file or a link on the way"):
                await call
    with pytest.raises(InvalidInput, match="file or a link on the way"):
        await granted.list("link")
    assert _names(granted.folder.parent / "outside") == ["secret.txt"]


async def test_a_granted_folder_may_itself_be_a_link(granted: Granted, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(granted.folder)
    assert (await Granted(tmp_path / "alias").read("a.txt")).text == "Hello"


@contextmanager
def _without_pause(change: Callable[[], None]) -> Generator[None]:
    """Changes something, again and again, in another thread, while the body runs."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            change()

    working = threading.Thread(target=work)
    working.start()
    try:
        yield
    finally:
        stop.set()
        working.join()


def _put(what: Path, where: Path) -> None:
    """Renames, whatever has come to be there by now."""
    while what.is_symlink() or what.exists():
        try:
            what.rename(where)
        except OSError:
            shutil.rmtree(where, ignore_errors=True)


ALL = {"read", "written", "refused", "gone"}
SHORT = 0.0005


async def test_a_folder_that_becomes_a_link_meanwhile_leads_nowhere(granted: Granted) -> None:
    """A folder and a link that leads out change places while files are read and written through their name."""
    outside, name = granted.folder.parent / "outside", granted.folder / "x"
    folder, link = granted.folder / "folder", granted.folder / "link"

    def swap() -> None:
        folder.mkdir(exist_ok=True)
        (folder / "secret.txt").write_text("harmless")
        _put(folder, name)
        time.sleep(SHORT)
        _put(name, folder)
        link.symlink_to(outside)
        _put(link, name)
        time.sleep(SHORT)
        name.unlink()

    outcomes: set[str] = set()
    with _without_pause(swap):
        for turn in range(5_000):
            if turn >= 300 and outcomes == ALL:
                break
            try:
                await granted.write(f"x/{turn % 10}.txt", "written")
                outcomes.add("written")
                page = await granted.read("x/secret.txt")
                assert page.text in ("harmless", "")  # it is empty for a moment
                outcomes.add("read")
            except InvalidInput as error:
                outcomes.add("refused" if "link" in str(error) else "gone")
    assert outcomes == ALL
    assert _names(outside) == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == SECRET


async def test_a_file_that_becomes_a_link_meanwhile_gives_nothing_away(granted: Granted) -> None:
    file, spare = granted.folder / "a.txt", granted.folder / "spare"

    def swap() -> None:
        spare.symlink_to("../secret.txt")
        spare.rename(file)
        spare.write_text("Hello")
        spare.rename(file)

    outcomes: set[str] = set()
    with _without_pause(swap):
        for turn in range(5_000):
            if turn >= 300 and outcomes == {"read", "refused"}:
                break
            try:
                assert (await granted.read("a.txt")).text == "Hello"
                outcomes.add("read")
                await granted.write("a.txt", "Hello")
            except InvalidInput:
                outcomes.add("refused")
    assert outcomes == {"read", "refused"}
    assert (granted.folder.parent / "secret.txt").read_text() == SECRET


def _once_looked_at(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[], None]) -> None:
    """Makes the race certain: the file changes between the look at it and what is done to it."""
    look = os.stat

    def look_and_change(path: Any, *given: Any, **more: Any) -> os.stat_result:
        found = look(path, *given, **more)
        if path == name:
            change()
        return found

    monkeypatch.setattr(os, "stat", look_and_change)


def _becomes_a_link(granted: Granted) -> None:
    (granted.folder / "a.txt").unlink()
    _link(granted, "a.txt", "../secret.txt")


async def test_a_file_that_is_a_link_once_it_was_looked_at_is_not_read(
    granted: Granted, monkeypatch: pytest.MonkeyPatch
) -> None:
    _once_looked_at(monkeypatch, "a.txt", lambda: _becomes_a_link(granted))
    with pytest.raises(InvalidInput, match="has a link on the way to it"):
        await granted.read("a.txt")


async def test_a_file_that_is_a_link_once_it_was_looked_at_is_written_in_place_of_the_link(
    granted: Granted, monkeypatch: pytest.MonkeyPatch
) -> None:
    _once_looked_at(monkeypatch, "a.txt", lambda: _becomes_a_link(granted))
    await granted.write("a.txt", "mine")
    assert (granted.folder / "a.txt").read_text() == "mine"
    assert (granted.folder.parent / "secret.txt").read_text() == SECRET


async def test_a_file_that_is_a_fifo_once_it_was_looked_at_is_not_waited_for(
    granted: Granted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def become_a_fifo() -> None:
        (granted.folder / "a.txt").unlink()
        os.mkfifo(granted.folder / "a.txt")

    _once_looked_at(monkeypatch, "a.txt", become_a_fifo)
    with pytest.raises(InvalidInput, match="is no file but a device or the like"):
        await granted.read("a.txt")


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero, which never ends


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


@pytest.mark.parametrize("make", [_fifo, _device, _socket])
async def test_what_is_no_file_is_neither_read_nor_written(granted: Granted, make: Any) -> None:
    try:
        make(granted.folder / "odd")
    except PermissionError:
        pytest.skip("only root may make devices")
    for call in (granted.read("odd"), granted.write("odd", "x")):
        with pytest.raises(InvalidInput, match="is no file but a device or the like"):
            await call
    assert "odd" not in (await granted.list()).files


async def test_a_large_file_is_read_in_parts(granted: Granted) -> None:
    text = "".join(f"{n}é🙂" for n in range(20_000))
    (granted.folder / "large.txt").write_text(text)
    parts: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = await granted.read("large.txt", offset=offset, limit=9_999)
        assert 0 < len(page.text.encode()) <= 9_999
        parts.append(page.text)
        offset = page.next_offset
    assert "".join(parts) == text
    assert len(parts) > 10


async def test_a_huge_file_costs_no_more_than_the_part_read(granted: Granted) -> None:
    with (granted.folder / "huge.txt").open("wb") as file:
        file.write(b"begin")
        file.truncate(10**12)
    assert await granted.read("huge.txt", limit=5) == FilePage(text="begin", size=10**12, next_offset=5)
    with pytest.raises(InvalidInput, match="is no text"):
        await granted.read("huge.txt", offset=10**11)
    assert (await granted.read("huge.txt", offset=2**61)).text == ""


@pytest.mark.parametrize("more", [{"limit": 100_001}, {"limit": 3}, {"offset": -1}, {"offset": 2**62}])
async def test_a_part_that_is_too_large_is_refused(granted: Granted, more: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        await granted.read("a.txt", **more)


@pytest.mark.parametrize("content", ["x" * 11, "é" * 6])
async def test_more_than_may_be_written_is_refused(granted: Granted, content: str) -> None:
    few = Granted(granted.folder, max_bytes=10)
    with pytest.raises(InvalidInput, match="content"):
        await few.write("b.txt", content)
    assert await few.write("b.txt", "x" * 10) == "b.txt has 10 bytes now"


async def test_the_worst_part_fits_into_a_result(granted: Granted) -> None:
    (granted.folder / "worst.txt").write_bytes(b"\x01" * 100_000)
    assert len((await granted.read("worst.txt", limit=100_000)).text) == 100_000


async def test_a_full_folder_is_listed_in_part(granted: Granted) -> None:
    full = granted.folder / "full"
    full.mkdir()
    for number in range(600):
        (full / f"{number:03}{'x' * 240}").touch()
    listed = await granted.list("full")
    assert len(listed.files) == 500
    assert listed.note == "there are more; these are 500 of them"


async def test_names_that_are_no_text_are_listed_as_they_can_be(granted: Granted) -> None:
    with (granted.folder / os.fsdecode(b"\xff.txt")).open("w"), (granted.folder / 'a"\n.txt').open("w"):
        listed = await granted.list()
    assert {"\ufffd.txt", 'a"\n.txt'} <= listed.files.keys()


async def test_a_write_is_whole_or_not_at_all(granted: Granted) -> None:
    """Whoever reads while it is written finds the one or the other."""
    long, longer = "a" * 200_000, "b" * 300_000
    await granted.write("long.txt", long)
    seen: set[str] = set()
    with _without_pause(lambda: seen.add((granted.folder / "long.txt").read_text())):
        for _ in range(20):
            await granted.write("long.txt", longer)
            await granted.write("long.txt", long)
    assert seen == {long, longer}


async def test_what_may_not_be_written_is_said_so_and_leaves_no_draft(
    granted: Granted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        await granted.write("b.txt", "x")
    assert _names(granted.folder) == ["a.txt", "notes"]


async def test_a_granted_folder_that_is_missing_is_for_the_operator(tmp_path: Path) -> None:
    for call in (Granted(tmp_path / "none").list(), Granted(tmp_path / "none").read("a.txt")):
        with pytest.raises(
            ConfigurationError, match=r"none' that it is granted .*Make it where the tools' workers run"
        ):
            await call


async def test_no_descriptor_is_left_open(granted: Granted) -> None:
    await granted.list()
    before = len(_names(DESCRIPTORS))
    for path in [*WAYS_OUT, "a.txt", "notes/today.md", "notes/none", "none/none", "a.txt/none"]:
        for call in (granted.list(path), granted.read(path)):
            try:
                await call
            except InvalidInput:
                continue
    await granted.write("notes/new/b.txt", "x")
    assert len(_names(DESCRIPTORS)) == before
