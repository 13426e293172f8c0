"""What a kill leaves behind in HOME/data: swept or mended, and never taken for a data set."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.data import staging
from engine.data.library import DataLibrary
from engine.data.staging import Staging
from engine.home import Home

MAKER = """
import sys, time
from pathlib import Path
from engine.data.staging import Staging
with Staging(Path(sys.argv[1])) as folder:
    (folder / "rows.arrow").write_text("half")
    print(folder.name, flush=True)
    time.sleep(100)
"""


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps({"q": f"q{i}", "a": f"a{i}"}) for i in range(5)]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_a_killed_import_left_goes_with_the_next_one(home: Home, rows: Path) -> None:
    maker = subprocess.Popen(
        [sys.executable, "-c", MAKER, str(home.data)], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert maker.stdout is not None
    half = home.data / maker.stdout.readline().strip()
    library = DataLibrary(home)
    library.import_files([rows], "one", roles={"q": "prompt", "a": "completion"})
    assert half.is_dir(), "its maker is still at it"
    maker.send_signal(signal.SIGKILL)
    maker.communicate()
    library.import_files([rows], "two", roles={"q": "prompt", "a": "completion"})
    assert sorted(path.name for path in home.data.iterdir()) == [".lock", "one", "two"]


@pytest.mark.parametrize("arrived", [False, True])
def test_a_swap_that_was_cut_short_loses_no_data_set(
    home: Home, rows: Path, monkeypatch: pytest.MonkeyPatch, arrived: bool
) -> None:
    library = DataLibrary(home)
    library.import_files([rows], "one", roles={"q": "prompt", "a": "completion"})

    class Killed(BaseException):
        pass

    def killed(*_arguments: object, **_options: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, Staging(home.data) as folder:
        (folder / "dataset.json").write_text((home.data / "one" / "dataset.json").read_text())
        (folder / "new").write_text("")
        if arrived:
            patched.setattr(staging.shutil, "rmtree", killed)
        else:
            rename = Path.rename
            patched.setattr(Path, "rename", lambda path, to: killed() if path == folder else rename(path, to))
        with pytest.raises(Killed):
            staging.swap(folder, home.data / "one")
        patched.undo()
    [info] = DataLibrary(home).list()
    assert info.name == "one"
    assert (home.data / "one" / "new").exists() == arrived
    assert sorted(path.name for path in home.data.iterdir()) == [".lock", "one"]
