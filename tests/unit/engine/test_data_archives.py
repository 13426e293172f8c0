"""Packed files, archives and folders: what is in them is read, and what would do harm is refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from engine.data import sources as sources_module
from engine.data.library import DataLibrary
from engine.errors import UserError
from engine.home import Home

LINES = b"".join(
    json.dumps({"prompt": f"p{n}", "completion": f"答 {n}"}, ensure_ascii=False).encode() + b"\n"
    for n in range(50)
)
TABLE = b"prompt,completion\na,b\nc,d\n"


@pytest.fixture
def library(home: Home) -> DataLibrary:
    return DataLibrary(home)


def pack(content: bytes, packing: str) -> bytes:
    if packing == "gz":
        return gzip.compress(content)
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, members: dict[str, bytes], mode: str) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def refused(library: DataLibrary, path: Path) -> UserError:
    """The refusal of an import, after which nothing is left behind."""
    with pytest.raises(UserError) as refusal:
        library.import_files([path], "x")
    assert not library.list()
    assert all(place.name == ".lock" for place in library._root.iterdir())
    return refusal.value


PLAIN = {"a.jsonl": (LINES, 50), "a.csv": (TABLE, 2), "a.txt": (b"x\ny\n", 2)}


@pytest.mark.parametrize("packing", ["gz", "zst"])
@pytest.mark.parametrize("name", list(PLAIN))
def test_packed_files_are_read(library: DataLibrary, tmp_path: Path, packing: str, name: str):
    content, count = PLAIN[name]
    plain = tmp_path / name
    plain.write_bytes(content)
    packed = tmp_path / f"{name}.{packing}"
    packed.write_bytes(pack(content, packing))
    told = []
    report = library.import_files([packed], "packed", progress=lambda *news: told.append(news))
    assert report.info.rows_kept == count
    assert report.info.hash == library.import_files([plain], "plain").info.hash
    assert told[-1] == ("reading", packed.stat().st_size, packed.stat().st_size, "bytes")


@pytest.mark.parametrize("packing", ["gz", "zst"])
def test_a_torn_packed_file_imports_nothing(library: DataLibrary, tmp_path: Path, packing: str):
    path = tmp_path / f"a.jsonl.{packing}"
    whole = pack(os.urandom(300_000).hex().encode() + b"\n" + LINES, packing)
    path.write_bytes(whole[: len(whole) // 2])
    assert refused(library, path).code == "archive-broken"


@pytest.mark.parametrize("name", ["rows.zip", "rows.tar", "rows.tar.gz", "rows.tgz", "rows.tar.xz", "folder"])
def test_the_files_within_are_read_and_the_others_named(library: DataLibrary, tmp_path: Path, name: str):
    members = {
        "data/b.jsonl": LINES + b"{\n", "data/a.csv": TABLE, "LICENSE": b"free", "README.md": b"words",
        "notes.txt": b"n",
        "__MACOSX/._a.csv": b"\0", "inner.zip": b"PK", "data/c.jsonl.gz": gzip.compress(LINES), "empty.csv": b"",
    }  # fmt: skip
    path = tmp_path / name
    if name == "folder":
        for inner, content in members.items():
            (path / inner).parent.mkdir(parents=True, exist_ok=True)
            (path / inner).write_bytes(content)
    elif name.endswith("zip"):
        make_zip(path, members)
    else:
        make_tar(path, members, {"rows.tar": "w", "rows.tar.xz": "w:xz"}.get(name, "w:gz"))
    report = library.import_files([path], "x")
    assert report.info.sources == (f"{name}/data/a.csv", f"{name}/data/b.jsonl", f"{name}/data/c.jsonl.gz")
    assert report.info.rows_kept == 102
    assert [(issue.file, issue.row) for issue in report.issues] == [(f"{name}/data/b.jsonl", 51)]
    assert sorted(line.split(":")[0] for line in report.info.skipped) == [
        "LICENSE", "README.md", "empty.csv", "inner.zip", "notes.txt",
    ]  # fmt: skip


def test_folders_that_are_classes_become_labels(library: DataLibrary, tmp_path: Path):
    for label in ("sport", "music"):
        (tmp_path / "news" / label).mkdir(parents=True)
        for n in range(3):
            (tmp_path / "news" / label / f"{n}.txt").write_text(f"about {label}\n\nand more of {n}")
    report = library.import_files([tmp_path / "news"], "news")
    assert report.info.roles == {"text": "text", "label": "label"}
    assert library.open("news").rows(0, 1) == [{"text": "about music\n\nand more of 0", "label": "music"}]


def test_files_that_are_named_like_labels_become_labels(library: DataLibrary, tmp_path: Path):
    (tmp_path / "pos.txt").write_text("好\n很好\n", encoding="utf-8")
    (tmp_path / "neg.txt").write_text("不好\n", encoding="utf-8")
    report = library.import_files([tmp_path / "pos.txt", tmp_path / "neg.txt"], "reviews")
    assert "'label' is the label of 'text'" in report.info.reason
    assert [row["label"] for row in library.open("reviews").rows(0, 9)] == ["pos", "pos", "neg"]


# ------------------------------------------------------------------------------------------- harm


def test_nothing_leaves_the_home(library: DataLibrary, home: Home, tmp_path: Path):
    before = {path for path in tmp_path.rglob("*") if home.root not in path.parents}
    members = {
        "../../evil.csv": TABLE,
        "/tmp/absolute-evil.csv": TABLE,
        "ok.csv": TABLE,
        "..\\evil2.csv": TABLE,
    }
    for path in (make_zip(tmp_path / "a.zip", members), make_tar(tmp_path / "a.tar", members, "w")):
        report = library.import_files([path], path.name)
        assert report.info.rows_kept == 4
        assert [line.split(":")[0] for line in report.info.skipped] == ["../../evil.csv", "..\\evil2.csv"]
        before.add(path)
    after = {path for path in tmp_path.rglob("*") if home.root not in path.parents}
    assert after == before
    assert not Path("/tmp/absolute-evil.csv").exists()


def test_links_are_not_followed(library: DataLibrary, tmp_path: Path):
    secret = tmp_path / "secret.csv"
    secret.write_bytes(TABLE)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("link.csv")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(link)
        device = tarfile.TarInfo("device.csv")
        device.type = tarfile.CHRTYPE
        archive.addfile(device)
    assert refused(library, tmp_path / "a.tar").code == "archive-empty"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        info = zipfile.ZipInfo("link.csv")
        info.external_attr = 0o120777 << 16
        zipped.writestr(info, str(secret))
    assert refused(library, tmp_path / "a.zip").code == "archive-empty"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link.csv").symlink_to(secret)
    assert refused(library, tmp_path / "folder").code == "archive-empty"


def test_bombs_are_refused(library: DataLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources_module, "FREE_BYTES", 1 << 20)
    monkeypatch.setattr("engine.data.archives.FREE_BYTES", 1 << 20)
    monkeypatch.setattr("engine.data.sheet_rows.FREE_BYTES", 1 << 20)
    bomb = b'{"text": "' + b"0" * (8 << 20) + b'"}\n'
    for packing in ("gz", "zst"):
        packed = tmp_path / f"a.jsonl.{packing}"
        packed.write_bytes(pack(bomb, packing))
        assert refused(library, packed).code == "archive-bomb"
    assert refused(library, make_zip(tmp_path / "a.zip", {"a.jsonl": bomb})).code == "archive-bomb"
    assert refused(library, make_tar(tmp_path / "a.tar.gz", {"a.jsonl": bomb}, "w:gz")).code == "archive-bomb"
    assert refused(library, make_zip(tmp_path / "a.xlsx", {"xl/a.xml": bomb})).code == "archive-bomb"
    inner = gzip.compress(bomb)
    assert refused(library, make_zip(tmp_path / "b.zip", {"a.jsonl.gz": inner})).code == "archive-bomb"


def test_too_many_files_and_locked_and_torn_archives_are_refused(library: DataLibrary, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.data.archives.MAX_MEMBERS", 3)
    many = make_zip(tmp_path / "many.zip", {f"{n}.csv": TABLE for n in range(5)})
    assert refused(library, many).code == "archive-too-many"
    whole = make_zip(tmp_path / "whole.zip", {"a.csv": TABLE}).read_bytes()
    locked = tmp_path / "locked.zip"
    position = whole.index(b"PK\x01\x02")
    locked.write_bytes(whole[:6] + b"\x01" + whole[7 : position + 8] + b"\x01" + whole[position + 9 :])
    assert refused(library, locked).code == "archive-locked"
    torn = tmp_path / "torn.zip"
    torn.write_bytes(whole[:-30])
    assert refused(library, torn).code == "archive-broken"
    changed = tmp_path / "changed.zip"
    body = whole.index(b"a.csv") + 10
    changed.write_bytes(whole[:body] + b"\xff" + whole[body + 1 :])
    assert refused(library, changed).code == "archive-broken"


@pytest.mark.skipif(sys.platform != "linux", reason="only there may a name be any bytes")
def test_names_whose_bytes_are_no_text_are_written_readably(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "old\udcff"
    folder.mkdir()
    (folder / "a\udcfe.jsonl").write_text('{"prompt":"a","completion":"b"}\n{"prompt":"a"}\n')
    (folder / "picture\udcfd.png").write_bytes(b"\x89PNG\0")
    for paths in ([folder], [folder / "a\udcfe.jsonl"]):
        report = DataLibrary(home).import_files(paths, f"rows {len(str(paths))}")
        assert [issue.row for issue in report.issues] == [2]
        assert "a?.jsonl" in report.issues[0].file
