"""Lets a model read the files of a folder that it is granted, and write them where that is granted too."""

import codecs
import stat
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field

from orchestrator import Tool, ToolContext
from orchestrator.errors import InvalidInput
from orchestrator_tools.folder import Folder
from orchestrator_tools.shipped import shipped

__all__ = ["FilePage", "Listing", "files"]

TIMEOUT = timedelta(seconds=30)
MAX_LISTED = 500
MAX_PAGE = 100_000
"""Bytes that one call reads."""
MAX_RESULT = 1024 * 1024
"""Bytes of JSON, of which one byte of a file or of a name may take six."""

_Path = Annotated[str, Field(max_length=4096)]


class Listing(BaseModel):
    """What is in a folder, sorted by name."""

    model_config = ConfigDict(frozen=True)

    folders: list[str]
    files: dict[str, int]
    """Names of files, and how many bytes each has."""
    note: str | None = None
    """What is not listed."""


class FilePage(BaseModel):
    """A part of a file."""

    model_config = ConfigDict(frozen=True)

    text: str
    size: int
    """Bytes of the whole file."""
    next_offset: int | None = None
    """Where to read on, if there is more."""


def files(folder: str | Path, *, write: bool = False, max_bytes: int = 1_000_000) -> Sequence[Tool[..., Any]]:
    """Tools that work on the files of one folder and of the folders in it: `list_files`, `read_file`, `write_file`.

    `Orchestrator("notes", tools=[*files("/srv/notes", write=True)])`. There is no way out of the folder: links are not
    followed, wherever they point. The folder need only be there where the tools run.

    Args:
        folder: that is granted.
        write: whether `write_file` is among the tools. A person is asked before the model's each call of it, unless the
            workflow is granted it.
        max_bytes: of a file that may be written.
    """
    reading = [_list_files(Path(folder)), _read_file(Path(folder))]
    return [*reading, _write_file(Path(folder), max_bytes)] if write else reading


def _list_files(path: Path) -> Tool[..., Any]:
    folder = Folder(path, tool="list_files")

    @shipped(effect="read", timeout=TIMEOUT, max_result=MAX_RESULT)
    async def list_files(ctx: ToolContext, folder_path: _Path = "") -> Listing:
        """List the folders and files in a folder.

        Args:
            folder_path: of the folder, such as notes/2026; leave it out for the whole
        """
        return await anyio.to_thread.run_sync(_listing, folder, folder_path)

    return list_files


def _listing(folder: Folder, path: str) -> Listing:
    found, more = folder.names(path, most=MAX_LISTED)
    named = [(name.encode(errors="surrogateescape").decode(errors="replace"), each) for name, each in found]
    folders = [name for name, each in named if stat.S_ISDIR(each.st_mode)]
    plain = {name: each.st_size for name, each in named if stat.S_ISREG(each.st_mode)}
    notes = [f"there are more; these are {MAX_LISTED} of them"] if more else []
    if others := len(named) - len(folders) - len(plain):
        notes.append(f"{others} links or devices, which can't be read, are left out")
    return Listing(folders=folders, files=plain, note="; ".join(notes) or None)


def _read_file(path: Path) -> Tool[..., Any]:
    folder = Folder(path, tool="read_file")

    @shipped(effect="read", timeout=TIMEOUT, max_result=MAX_RESULT)
    async def read_file(
        ctx: ToolContext,
        path: _Path,
        offset: Annotated[int, Field(ge=0, lt=2**62)] = 0,
        limit: Annotated[int, Field(ge=4, le=MAX_PAGE)] = 10_000,
    ) -> FilePage:
        """Read a text file, or a part of it.

        Args:
            path: of the file, such as notes/today.md
            offset: byte to begin with; next_offset of the part before, to read on
            limit: bytes to read
        """
        return await anyio.to_thread.run_sync(_page, folder, path, offset, limit)

    return read_file


def _page(folder: Folder, path: str, offset: int, limit: int) -> FilePage:
    content, size = folder.read(path, offset=offset, limit=limit)
    if b"\0" in content:
        raise InvalidInput("tool 'read_file'", f"{path!r} is no text")
    ends = offset + len(content) >= size
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(content, final=ends)
    half, _ = decoder.getstate()  # of a character, which the next part begins with
    return FilePage(text=text, size=size, next_offset=None if ends else offset + len(content) - len(half))


def _write_file(path: Path, max_bytes: int) -> Tool[..., Any]:
    folder = Folder(path, tool="write_file")

    @shipped(effect="write", timeout=TIMEOUT, max_result=MAX_RESULT)
    async def write_file(ctx: ToolContext, path: _Path, content: Annotated[str, Field(max_length=max_bytes)]) -> str:
        """Write a text file, in place of the one that may be there.

        Args:
            path: of the file, such as notes/today.md; folders that are missing are made
            content: the whole text
        """
        encoded = content.encode(errors="replace")
        if len(encoded) > max_bytes:
            raise InvalidInput("tool 'write_file'", f"content has {len(encoded):,} bytes, more than {max_bytes:,}")
        await anyio.to_thread.run_sync(folder.write, path, encoded)
        return f"{path} has {len(encoded):,} bytes now"

    return write_file
