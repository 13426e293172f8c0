"""What runs need outlives the data set; the same rows lie on the disk once; the trash empties for good."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.data.kept import KEPT
from engine.data.library import DataLibrary
from engine.data.staging import is_disk_full
from engine.data.steps.versions import DataSteps
from engine.errors import UserError
from engine.home import Home
from engine.journal import JournalWriter
from engine.messages import DataStep, RunCreated

ROWS = [{"prompt": f"Question {place}?", "completion": f"Answer {place}."} for place in range(50)]
MASKED = [row | {"completion": f"Write to a{place}@example.org"} for place, row in enumerate(ROWS)]


@pytest.fixture
def library(home: Home) -> DataLibrary:
    return DataLibrary(home)


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, MASKED)), encoding="utf-8")
    return path


def make_run(home: Home, name: str, hash: str, data: str = "rows") -> Path:
    folder = home.run(f"20260101-000000-{len(list(home.runs.iterdir())):04x}")
    folder.mkdir()
    journal = JournalWriter(folder, folder.name)
    journal.append(RunCreated(name, {"data": data}, "Tiny", data, hash))
    journal.close()
    return folder


def texts(library: DataLibrary, hash: str) -> list[str]:
    dataset = library.open_version("rows", hash)
    assert dataset is not None
    assert dataset.info.hash == hash
    return [values["completion"] for values in dataset.all_values()]


def num_bytes(folder: Path) -> int:
    """On the disk: a file that has several names counts once."""
    files = {path.stat().st_ino: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return sum(files.values())


def test_a_deleted_data_set_leaves_what_its_runs_need(home: Home, library: DataLibrary, rows_file: Path):
    original = library.import_files([rows_file], "rows").info.hash
    make_run(home, "first try", original)
    masked = DataSteps(home).apply("rows", DataStep("mask")).hash
    make_run(home, "with masks", masked)
    present = DataSteps(home).apply("rows", DataStep("letters", {"case": "lower"})).hash

    assert set(library.runs_of("rows")) == {"first try", "with masks"}
    library.delete("rows")
    for _ in range(2):
        assert texts(library, original)[0] == "Write to a0@example.org"
        assert texts(library, masked)[0] == "Write to [EMAIL]"
        library.empty_trash()
    assert library.trashed() == []
    with pytest.raises(UserError) as caught:
        library.open_version("rows", present)  # no run was made from it
    assert caught.value.code == "data-not-found"


def test_a_name_given_in_the_notes_is_the_one_that_is_said(home: Home, library: DataLibrary, rows_file: Path):
    hash = library.import_files([rows_file], "rows").info.hash
    run = make_run(home, "first", hash)
    (run / "notes.json").write_text(json.dumps({"name": "客服"}), encoding="utf-8")
    assert library.runs_of("rows") == ("客服",)


def test_nothing_is_kept_for_nobody(home: Home, library: DataLibrary, rows_file: Path):
    hash = library.import_files([rows_file], "rows").info.hash
    run = make_run(home, "short", hash)
    library.delete("rows")
    assert [path.name for path in (home.data / KEPT).iterdir()] == [hash]
    shutil.rmtree(run)
    assert library.empty_trash() > 0
    assert not list((home.data / KEPT).iterdir())
    assert num_bytes(home.data) < 1000


def test_a_renamed_data_set_still_serves_its_runs(home: Home, library: DataLibrary, rows_file: Path):
    hash = library.import_files([rows_file], "rows").info.hash
    make_run(home, "r", hash)
    library.rename("rows", "other")
    assert len(texts(library, hash)) == 50


def test_a_deletion_can_be_undone_and_repeated(home: Home, library: DataLibrary, rows_file: Path):
    hash = library.import_files([rows_file], "rows").info.hash
    make_run(home, "r", hash)
    for _ in range(2):
        library.restore(library.delete("rows"))
    assert library.info("rows").hash == hash
    assert len(texts(library, hash)) == 50


def test_two_imports_of_one_file_lie_on_the_disk_once(home: Home, library: DataLibrary, tmp_path: Path):
    broken = "{not json}\n" * 200
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, MASKED * 40)) + "\n" + broken, encoding="utf-8")
    first = library.import_files([path], "rows").info
    before = num_bytes(home.data)
    again = library.import_files([path], "rows").info
    other = library.import_files([path], "other").info
    renamed_file = tmp_path / "renamed.jsonl"
    shutil.copy(path, renamed_file)
    library.import_files([renamed_file], "third")
    assert first.hash == again.hash == other.hash == library.info("third").hash
    issues = (home.data / "rows" / "issues.jsonl").stat().st_size  # those name their file
    assert num_bytes(home.data) < before + issues * 1.2 + 5000
    assert (home.data / "rows" / "rows.arrow").samefile(home.data / "third" / "rows.arrow")


@pytest.mark.parametrize("place", ["stepped", "trashed"])
def test_rows_are_shared_with_an_original_and_with_the_trash(
    home: Home, library: DataLibrary, rows_file: Path, place: str
):
    library.import_files([rows_file], "rows")
    if place == "stepped":
        DataSteps(home).apply("rows", DataStep("mask"))
        original = home.data / "rows" / "original" / "rows.arrow"
    else:
        original = home.trash / library.delete("rows") / "item" / "rows.arrow"
    library.import_files([rows_file], "again")
    assert (home.data / "again" / "rows.arrow").samefile(original)


def test_what_two_share_is_never_changed_in_place(home: Home, library: DataLibrary, rows_file: Path):
    library.import_files([rows_file], "rows")
    hash = library.import_files([rows_file], "other").info.hash
    DataSteps(home).apply("rows", DataStep("mask"))
    library.delete("rows")
    library.empty_trash()
    assert library.open("other").info.hash == hash
    assert next(library.open("other").all_values())["completion"] == "Write to a0@example.org"


@pytest.mark.parametrize(
    "work",
    [
        lambda home, file: DataLibrary(home).import_files([file], "new"),
        lambda home, file: DataSteps(home).apply("rows", DataStep("mask")),
    ],
    ids=["import", "step"],
)
def test_a_full_disk_is_a_sentence(
    home: Home, library: DataLibrary, rows_file: Path, monkeypatch: pytest.MonkeyPatch,
    work: Callable[[Home, Path], object],
):  # fmt: skip
    library.import_files([rows_file], "rows")
    before = sorted(str(path) for path in home.data.rglob("*"))

    def full(self: object, name: object) -> None:
        raise OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space left on device")

    monkeypatch.setattr("engine.data.store.StoreWriter._keep", full)
    with pytest.raises(UserError) as caught:
        work(home, rows_file)
    assert caught.value.code == "disk-full"
    assert "is full" in caught.value.message
    assert sorted(str(path) for path in home.data.rglob("*")) == before


def test_arrow_says_full_in_words() -> None:
    assert is_disk_full(OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"))
    assert not is_disk_full(OSError(errno.EACCES, "Permission denied"))
