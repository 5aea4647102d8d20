"""Documents: what goes into a collection, and how it is read from files.

Imports nothing that does I/O but the file system's; no database, no model.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from orchestrator.errors import RequestError

__all__ = ["LARGEST", "SUFFIXES", "Document", "DocumentRefused", "Skipped", "python_reference", "read_documents"]

LARGEST = 50_000_000
"""Bytes of UTF-8 that one document may have."""

LONGEST_NAME = 1024

SUFFIXES = frozenset(
    {".adoc", ".json", ".log", ".markdown", ".md", ".py", ".rst", ".text", ".toml", ".txt", ".yaml", ".yml"}
)
"""Kinds of files that are read from a folder. A file that is named itself may have any name, if it is text."""


class DocumentRefused(RequestError):
    """A document can't enter a collection as it is."""

    def __init__(self, document: str, *, problem: str, remedy: str) -> None:
        self.document, self.problem, self.remedy = document, problem, remedy
        super().__init__(f"document {document[:200]!r} {problem}: {remedy}")


@dataclass(frozen=True, kw_only=True)
class Document:
    """A text and the name under which its passages are cited."""

    name: str
    """Unique within its collection; adding another text under the name replaces the document."""
    text: str

    @property
    def content_hash(self) -> str:
        """SHA-256 of the text: the same hash means that there is nothing to do."""
        return sha256(self.text.encode()).hexdigest()

    @classmethod
    def decode(cls, name: str, body: bytes) -> "Document":
        """A document from the bytes of a file in UTF-8, with or without a byte-order mark.

        Raises:
            DocumentRefused: it is empty, binary, in another encoding, or too large.
        """
        _check_size(name, len(body))
        try:
            document = cls(name=name, text=body.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise _not_text(name, f"isn't UTF-8 text (byte {error.start})") from error
        document.check()
        return document

    def check(self) -> None:
        """Refuses what can't be searched, or can't be stored by every database.

        Raises:
            DocumentRefused: it is empty, binary or too large, or its name is unusable.
        """
        if not self.name.strip() or len(self.name) > LONGEST_NAME or not self.name.isprintable():
            raise DocumentRefused(
                self.name, problem="has an unusable name", remedy=f"use 1 to {LONGEST_NAME} printable characters"
            )
        if not self.text.strip():
            raise DocumentRefused(self.name, problem="is empty", remedy="leave it out, or add its text")
        if "\0" in self.text:
            raise _not_text(self.name, "is binary (it has NUL bytes)")
        try:
            size = len(self.text.encode())
        except UnicodeEncodeError as error:
            raise _not_text(self.name, f"has characters that aren't text (at {error.start})") from error
        _check_size(self.name, size)


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A file that was found in a folder and not read."""

    path: Path
    reason: str


def read_documents(paths: Iterable[Path]) -> tuple[list[Document], list[Skipped]]:
    """The documents of files and folders, and what was left out of the folders.

    A file's document is named after it; a document from a folder by its path from the folder, which comes first:
    `handbook/refunds.md`. Hidden files and folders are passed over. What a folder has that can't be read is skipped
    with a reason; a file that was named itself is refused with an error, since it was asked for.

    Raises:
        DocumentRefused: a named path isn't there, or is no text.
    """
    documents: list[Document] = []
    skipped: list[Skipped] = []
    for given in paths:
        path = given.resolve()
        if not path.is_dir():
            documents.append(_read(path.name, path))
            continue
        for file in _files(path):
            name = file.relative_to(path.parent).as_posix()
            if file.suffix.lower() not in SUFFIXES:
                skipped.append(Skipped(path=file, reason=f"{file.suffix or 'no suffix'} is no known kind of text"))
                continue
            try:
                documents.append(_read(name, file))
            except DocumentRefused as refused:
                skipped.append(Skipped(path=file, reason=refused.problem))
    return documents, skipped


def python_reference() -> list[Document]:
    """The language reference that every Python carries for `help()`: one document a topic."""
    from pydoc_data.topics import topics  # 0.5 MB of text, wanted by one command only

    return [Document(name=topic, text=text) for topic, text in sorted(topics.items())]


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))


def _read(name: str, path: Path) -> Document:
    try:
        _check_size(name, path.stat().st_size)
        return Document.decode(name, path.read_bytes())
    except OSError as error:
        raise DocumentRefused(
            str(path), problem=f"can't be read ({error.strerror})", remedy="check the path and its permissions"
        ) from error


def _check_size(name: str, size: int) -> None:
    if size > LARGEST:
        raise DocumentRefused(
            name, problem=f"is too large ({size:,} bytes; {LARGEST:,} are allowed)", remedy="split it into several"
        )


def _not_text(name: str, problem: str) -> DocumentRefused:
    return DocumentRefused(name, problem=problem, remedy="convert it to plain text in UTF-8")
