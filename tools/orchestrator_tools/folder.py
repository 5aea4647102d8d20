"""A folder that is granted, with no way out of it, whoever moves or links what meanwhile.

A path is opened one component after the other, each relative to the folder that is open already, and never through a
link. Only plain files and folders count; whatever else is there is refused.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import ConfigurationError, InvalidInput

__all__ = ["Folder"]

MAX_DEPTH = 32
_NAME = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]+")
"""A name without control characters and halves of characters."""
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW
_INTO = _OPEN | os.O_RDONLY | os.O_DIRECTORY
# A FIFO that takes the place of a file meanwhile must not be waited for, nor a terminal be taken over.
_READ = _OPEN | os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_NEW = _OPEN | os.O_WRONLY | os.O_CREAT | os.O_EXCL


class Folder:
    """A folder whose files may be listed, read or written.

    Args:
        path: of the folder. It is looked for when something in it is asked for, not before.
        tool: on whose behalf.
    """

    def __init__(self, path: Path, *, tool: str) -> None:
        self._path = path
        self._what = f"tool {tool!r}"

    def names(self, path: str, *, most: int) -> tuple[list[tuple[str, os.stat_result]], bool]:
        """What is in a folder, sorted by name, and whether there is more than was looked at.

        Raises:
            InvalidInput: there is no such folder.
        """
        with self._opened(_components(path, self._what), path) as folder, os.scandir(folder) as entries:
            found: list[tuple[str, os.stat_result]] = []
            for entry in entries:
                if len(found) == most:
                    return sorted(found, key=lambda each: each[0]), True
                with contextlib.suppress(FileNotFoundError):
                    found.append((entry.name, entry.stat(follow_symlinks=False)))
            return sorted(found, key=lambda each: each[0]), False

    def read(self, path: str, *, offset: int, limit: int) -> tuple[bytes, int]:
        """Bytes of a file, and how many it has.

        Raises:
            InvalidInput: there is no such file.
        """
        *folders, name = _named(path, self._what)
        with self._opened(folders, path) as folder, _understood(path, self._what):
            _refuse_all_but_files(os.stat(name, dir_fd=folder, follow_symlinks=False), path, self._what)
            with os.fdopen(os.open(name, _READ, dir_fd=folder), "rb", buffering=0) as file:
                found = os.fstat(file.fileno())
                _refuse_all_but_files(found, path, self._what)
                if offset >= found.st_size:
                    return b"", found.st_size
                file.seek(offset)
                return file.read(limit), found.st_size

    def write(self, path: str, content: bytes) -> None:
        """Puts a file there, whole or not at all, in the place of one that may be there; folders above it are made.

        Raises:
            InvalidInput: something else than a file is there, or there is no way to it.
        """
        *folders, name = _named(path, self._what)
        with self._opened(folders, path, make=True) as folder, _understood(path, self._what):
            with contextlib.suppress(FileNotFoundError):
                _refuse_all_but_files(os.stat(name, dir_fd=folder, follow_symlinks=False), path, self._what)
            draft = f".{secrets.token_hex(8)}.draft"
            try:
                with os.fdopen(os.open(draft, _NEW, 0o666, dir_fd=folder), "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                # It takes the place of the name: of a link, if one is there by now, and not of what that points to.
                os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
                os.fsync(folder)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(draft, dir_fd=folder)
                raise

    @contextmanager
    def _opened(self, components: list[str], path: str, *, make: bool = False) -> Generator[int]:
        try:
            # The granted folder may itself be a link: it's the operator's.
            folder = os.open(self._path, os.O_CLOEXEC | os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise ConfigurationError(
                f"{self._what} can't open the folder {str(self._path)!r} that it is granted ({error.strerror})",
                remedy="Make it where the tools' workers run, or grant another.",
            ) from error
        try:
            for component in components:
                with _understood(path, self._what):
                    if make:
                        with contextlib.suppress(FileExistsError):
                            os.mkdir(component, dir_fd=folder)
                    inner = os.open(component, _INTO, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)


def _named(path: str, what: str) -> list[str]:
    components = _components(path, what)
    if not components or path.endswith("/"):
        raise InvalidInput(what, f"{path!r} names no file")
    return components


def _components(path: str, what: str) -> list[str]:
    """The components of a path that may be walked.

    Raises:
        InvalidInput: it leads out, or no file system has it.
    """
    if path.startswith("/"):
        raise InvalidInput(what, f"{path!r} is not relative to the granted folder; write it as in 'notes/today.md'")
    components = [component for component in path.split("/") if component not in ("", ".")]
    for component in components:
        if component == "..":
            raise InvalidInput(what, f"{path!r} leads out of the granted folder, or might")
        if not _NAME.fullmatch(component):
            raise InvalidInput(what, f"{component!r} is no name of a file")
    if len(components) > MAX_DEPTH:
        raise InvalidInput(what, f"it has more than {MAX_DEPTH} folders")
    return components


def _refuse_all_but_files(found: os.stat_result, path: str, what: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = (
            "a folder" if stat.S_ISDIR(found.st_mode)
            else "a link, and links aren't followed" if stat.S_ISLNK(found.st_mode)
            else "no file but a device or the like"
        )  # fmt: skip
        raise InvalidInput(what, f"{path!r} is {kind}")


@contextmanager
def _understood(path: str, what: str) -> Generator[None]:
    """What the file system refuses is for who asked to mend; a full or broken disk isn't."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE):
            raise
        problem = {
            errno.ENOENT: "is not there",
            errno.ELOOP: "has a link on the way to it, and links aren't followed",
            errno.ENOTDIR: "has a file or a link on the way to it, where a folder should be",
        }.get(error.errno or 0, f"can't be used ({error.strerror})")
        raise InvalidInput(what, f"{path!r} {problem}") from error
