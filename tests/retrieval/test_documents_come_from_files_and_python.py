from pathlib import Path

import pytest

from orchestrator_retrieval import Document, DocumentRefused, python_reference, read_documents
from orchestrator_retrieval import documents as documents_module


def test_a_folder_gives_its_text_files_and_says_what_it_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "handbook"
    (folder / "deep").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git" / "config.txt").write_text("hidden")
    (folder / "a.md").write_text("\ufeffwith a byte-order mark")
    (folder / "deep" / "b.py").write_text("print('b')")
    (folder / "photo.png").write_bytes(b"\x89PNG\0")
    (folder / "empty.txt").touch()
    (folder / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    (folder / "wide.txt").write_text("wide", encoding="utf-16")
    found, skipped = read_documents([folder])
    assert found == [
        Document(name="handbook/a.md", text="with a byte-order mark"),
        Document(name="handbook/deep/b.py", text="print('b')"),
    ]
    assert {item.path.name: item.reason for item in skipped} == {
        "photo.png": ".png is no known kind of text",
        "empty.txt": "is empty",
        "latin.txt": "isn't UTF-8 text (byte 2)",
        "wide.txt": "isn't UTF-8 text (byte 0)",
    }


def test_a_file_that_is_named_is_read_whatever_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("Do as you please.")
    assert read_documents([tmp_path / "LICENSE"]) == ([Document(name="LICENSE", text="Do as you please.")], [])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", r"document 'x\.bin' is empty: leave it out"),
        (b"MZ\0\1", r"document 'x\.bin' is binary .*: convert it to plain text"),
        (b"\xff\xfe", r"document 'x\.bin' isn't UTF-8 text"),
        (b"much" * 100, r"document 'x\.bin' is too large \(400 bytes; 200 are allowed\): split it"),
    ],
)
def test_a_file_that_is_named_and_unsuitable_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes, message: str
) -> None:
    monkeypatch.setattr(documents_module, "LARGEST", 200)
    (tmp_path / "x.bin").write_bytes(body)
    with pytest.raises(DocumentRefused, match=message):
        read_documents([tmp_path / "x.bin"])


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentRefused, match=r"can't be read.*No such file"):
        read_documents([tmp_path / "nowhere"])


def test_python_brings_its_own_reference() -> None:
    topics = {document.name: document for document in python_reference()}
    assert len(topics) > 70
    assert "context manager" in topics["with"].text
    for document in topics.values():
        document.check()
