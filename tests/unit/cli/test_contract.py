"""What scripts rely on: the JSON's keys, exit codes, and that stdout holds nothing else."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cli.terminal import Terminal
from cli.training import ready_data
from engine.home import Home
from storage.records import STATUSES
from tests.unit.storage.conftest import FakeRun

from .conftest import PROGRAM, Say, program

RUN_KEYS = [
    "id", "name", "status", "task", "model", "data", "method", "steps", "first_val_loss", "best_val_loss",
    "duration_s", "created_utc",
]  # fmt: skip
SHOW_KEYS = [*RUN_KEYS, "recipe", "environment", "metrics", "checkpoints", "samples", "error"]
IMPORT_KEYS = ["name", "hash", "rows_read", "rows_kept", "issues", "task", "roles"]


def test_runs_is_a_list_with_these_keys(say: Say, finished_run: FakeRun) -> None:
    answer = say("runs", "--json")
    assert answer.code == 0
    [run] = answer.json
    assert list(run) == RUN_KEYS
    assert run == {
        "id": finished_run.id, "name": "我的 run", "status": "finished", "task": "causal-lm", "model": "m",
        "data": "d", "method": "lora", "steps": 2, "first_val_loss": 4.0, "best_val_loss": 3.0,
        "duration_s": 81.0, "created_utc": "2026-01-01T12:00:00.000Z",
    }  # fmt: skip
    assert run["status"] in STATUSES


def test_no_runs_is_an_empty_list(say: Say) -> None:
    assert say("runs", "--json").json == []
    assert "python main.py demo" in say("runs").out


def test_show_adds_all_about_a_run(say: Say, finished_run: FakeRun) -> None:
    shown = say("show", finished_run.id[:12], "--json").json
    assert list(shown) == SHOW_KEYS
    assert {key: shown[key] for key in RUN_KEYS} == say("runs", "--json").json[0]
    assert {"step": 2, "name": "val_loss", "value": 3.0} in shown["metrics"]
    assert all(list(each) == ["step", "name", "value"] for each in shown["metrics"])
    folder = finished_run.folder
    assert shown["checkpoints"] == [
        {"step": step, "path": str(folder / "checkpoints" / f"step-{step}")} for step in (1, 2)
    ]
    assert shown["samples"] == [
        {"step": 0, "prompt": "Hi?", "text": "before"},
        {"step": 2, "prompt": "Hi?", "text": "after"},
    ]
    assert shown["recipe"]["method"] == "lora"
    assert shown["environment"] == {"torch": "2"}
    assert shown["error"] is None


def test_show_names_the_error_of_a_failed_run(say: Say, home: Home) -> None:
    run = FakeRun(home.root).created().started()
    run.add("RunFailed", step=3, code="oom", message="Out of memory at step 3.")
    assert say("show", run.id, "--json").json["error"] == "Out of memory at step 3."
    assert "Out of memory at step 3." in say("show", run.id).out


def test_import_names_every_broken_row_and_keeps_the_rest(say: Say, tmp_path: Path) -> None:
    rows = [json.dumps({"prompt": f"question {number}", "completion": "yes"}) for number in range(100)]
    rows[10], rows[20], rows[30] = "{broken", json.dumps({"prompt": "alone"}), json.dumps([1, 2])
    file = tmp_path / "some rows.jsonl"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    answer = say("data", "import", str(file), "--name", "mine", "--json")
    assert answer.code == 0
    assert list(answer.json) == IMPORT_KEYS
    assert (answer.json["rows_read"], answer.json["rows_kept"]) == (100, 97)
    assert all(list(issue) == ["file", "row", "code", "message"] for issue in answer.json["issues"])
    assert [issue["row"] for issue in answer.json["issues"]] == [11, 21, 31]
    [listed] = say("data", "--json").json
    assert (listed["name"], listed["rows_kept"], listed["num_issues"]) == ("mine", 97, 3)
    shown = say("data", "show", "mine", "--json").json
    assert [issue["row"] for issue in shown["issues"]] == [11, 21, 31]
    text = say("data", "show", "mine").out
    assert "97 of 100 rows kept" in text


def test_roles_are_given_as_role_equals_column(say: Say, tmp_path: Path) -> None:
    file = tmp_path / "faq.csv"
    file.write_text("q,a\nwhy,because\nhow,so\n", encoding="utf-8")
    words = ("--role", "prompt=q", "--role", "completion=a", "--json")
    answer = say("data", "import", str(file), *words)
    assert answer.json["roles"] == {"q": "prompt", "a": "completion"}
    assert answer.json["name"] == "faq"


def test_a_file_given_for_training_is_kept_once_and_changed_rows_get_another_name(
    home: Home, tmp_path: Path
) -> None:
    spoken = Terminal(as_json=True, out=io.StringIO(), err=io.StringIO())
    file = tmp_path / "rows.jsonl"
    names = []
    for answer in ("one", "one", "two", "two", "one"):
        file.write_text(json.dumps({"prompt": "a", "completion": answer}) + "\n", encoding="utf-8")
        names.append(ready_data(home, str(file), spoken))
    assert names == ["rows", "rows", "rows 2", "rows 2", "rows"]
    assert list(home.trash.iterdir()) == []


def test_deleting_data_moves_it_to_the_trash(say: Say, home: Home, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    say("data", "import", str(file))
    answer = say("data", "delete", "rows", "--json")
    assert answer.json["name"] == "rows"
    assert say("data", "--json").json == []
    assert (home.trash / answer.json["token"]).exists()


def test_models_lists_what_is_on_disk(say: Say, tiny_home: Home) -> None:
    [model] = say("models", "--json").json
    assert (model["id"], model["kind"]) == ("tiny", "decoder")
    assert model["num_parameters"] > 1000
    assert "tiny" in say("models").out
    ids = [starter["id"] for starter in say("models", "starters", "--json").json]
    assert {"smollm2-135m-instruct", "all-minilm-l6-v2"} <= set(ids)


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["nonsense"], 2, "usage"),
        ([], 2, "usage"),
        (["train", "--model", "m"], 2, "usage"),
        (["train", "--model", "m", "--data", "d", "--set", "rank"], 2, "usage"),
        (["train", "--model", "m", "--data", "d", "--set", "rnak=3"], 2, "recipe-invalid"),
        (["train", "--model", "m", "--data", "d", "--set", "rank=0"], 2, "recipe-invalid"),
        (["generate", "m", "--prompt", "x", "--temperature", "-1"], 2, "usage"),
        (["generate", "m", "--prompt", "x", "--max-new-tokens", "0"], 2, "usage"),
        (["generate", "m", "--prompt", "x", "--seed", "9" * 30], 2, "usage"),
        (["generate", "m", "--prompt", "x\udc80"], 2, "prompt-not-text"),
        (["generate", "m", "--prompt", "x", "--system", "x\udc80"], 2, "prompt-not-text"),
        (["train", "--model", "m", "--data", "d", "--name", "a\udc80"], 2, "recipe-invalid"),
        (["train", "--model", "m", "--data", "d", "--set", "sample_prompts=x,a\udc80"], 2, "recipe-invalid"),
        (["generate", "m", "--prompt", "x", "--top-p", "nan"], 2, "usage"),
        (["run", "no-such-recipe.toml"], 2, "recipe-missing"),
        (["train", "--model", "m", "--data", "nothing-here"], 1, "data-not-found"),
        (["show", "nobody"], 1, "run-not-found"),
        (["pause", "nobody"], 1, "run-not-found"),
        (["resume", "nobody"], 1, "run-not-found"),
        (["stop", "nobody"], 1, "run-not-found"),
        (["models", "get", "nobody"], 1, "starter-unknown"),
        (["models", "add", "/no/such/place"], 1, "path-not-found"),
        (["models", "delete", "nobody"], 1, "model-not-found"),
    ],
)
def test_errors_have_a_code_in_json_and_a_sentence_in_text(
    say: Say, words: list[str], code: int, error: str
) -> None:
    answer = say(*words, "--json")
    assert answer.code == code
    assert list(answer.json) == ["error"]
    assert list(answer.json["error"]) == ["code", "message"]
    assert answer.json["error"]["code"] == error
    if words:
        spoken = say(*words)
        assert (spoken.code, spoken.out) == (code, "")
        assert answer.json["error"]["message"] in spoken.err
        assert "Traceback" not in spoken.err


@pytest.mark.parametrize("act", ["pause", "stop"])
def test_only_a_run_at_work_takes_commands(say: Say, finished_run: FakeRun, act: str) -> None:
    answer = say(act, finished_run.id, "--json")
    assert (answer.code, answer.json["error"]["code"]) == (1, "run-not-at-work")
    assert "finished" in answer.json["error"]["message"]


def test_a_finished_run_is_not_resumed(say: Say, finished_run: FakeRun) -> None:
    answer = say("resume", finished_run.id, "--json")
    assert (answer.code, answer.json["error"]["code"]) == (1, "run-is-finished")


def test_write_keeps_the_recipe_and_starts_nothing(say: Say, home: Home, tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    words = ["train", "--model", "m", "--data", "d", "--name", "n", "--effort", "thorough", "--set", "rank=4"]
    answer = say(*words, "--set", "target_modules=q_proj,v_proj", "--write", str(file), "--json")
    assert answer.json == {"recipe": str(file)}
    spaced = say(*words, "--write", str(tmp_path / "a b.toml"))
    assert spaced.out.strip().endswith(f"run '{tmp_path / 'a b.toml'}'"), "the command can be copied"
    text = file.read_text(encoding="utf-8")
    assert "rank = 4" in text and "num_epochs = 6.0" in text
    assert '"q_proj"' in text
    assert list(home.runs.iterdir()) == []


def test_write_fetches_nothing_and_settles_paths(
    say: Say, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    words = ["train", "--model", "smollm2-135m-instruct", "--data", "rows.jsonl", "--write", "recipe.toml"]
    assert say(*words, "--json").code == 0
    recipe = tomllib.loads(Path("recipe.toml").read_text(encoding="utf-8"))
    assert (recipe["model"], recipe["data"]) == ("smollm2-135m-instruct", str(tmp_path / "rows.jsonl"))
    assert list(home.models.iterdir()) == list(home.data.iterdir()) == []


# --------------------------------------------------------------------------------------- as a process


def test_home_and_json_are_understood_before_and_after(home: Home, finished_run: FakeRun) -> None:
    before = program("--json", "--home", str(home.root), "runs")
    after = program("runs", "--home", str(home.root), "--json")
    by_environment = program("runs", "--json", environment={"TUNEBENCH_HOME": str(home.root)})
    assert before.json == after.json == by_environment.json
    assert before.json[0]["id"] == finished_run.id


def test_runs_needs_nothing_heavy(home: Home, finished_run: FakeRun) -> None:
    """What makes `runs` answer at once: neither torch nor Qt, neither numpy nor pyarrow is loaded."""
    code = (
        "import sys; sys.argv = ['main.py', 'runs', '--json', '--home', sys.argv[1]]\n"
        "from main import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "heavy = {'torch', 'transformers', 'peft', 'numpy', 'pyarrow', 'PySide6'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(home.root)], cwd=PROGRAM, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["status"] == "finished"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux may have no screen")
@pytest.mark.parametrize("words", [[], ["--home", "x"]])
def test_without_a_screen_one_sentence_says_so(words: list[str]) -> None:
    nothing = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "QT_QPA_PLATFORM": ""}
    answer = program(*words, environment=nothing)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert "python main.py demo" in answer.err and "DISPLAY" in answer.err


def test_before_anything_is_installed_one_sentence_says_what_to_do() -> None:
    """-S is a Python that knows none of the installed packages, as in a fresh clone."""
    bare = [sys.executable, "-S", str(PROGRAM / "main.py"), "runs"]
    done = subprocess.run(bare, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "platformdirs is missing" in done.stderr and "pip install -e ." in done.stderr


def test_help_reads_well_and_is_no_error() -> None:
    answer = program("--help")
    assert answer.code == 0
    for word in (
        "demo",
        "train",
        "run",
        "runs",
        "show",
        "pause",
        "resume",
        "stop",
        "generate",
        "models",
        "data",
    ):
        assert f"\n    {word} " in answer.out, word
    for words in (["train"], ["data", "import"], ["generate"]):
        answer = program(*words, "--help")
        assert answer.code == 0 and "--home" in answer.out and "--json" in answer.out


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    answer = program("runs", "--json", "--home", str(tmp_path / "file" / "home"))
    assert (answer.code, answer.json["error"]["code"]) == (1, "home-not-writable")
