"""Every task and strategy through the terminal's own words: train, predict or generate, evaluate, merge, resume.

The worker is the real one, forked from this process instead of started anew, which spares each run the import of
torch. What the figures should be is worked out here from the report's rows.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sklearn import metrics as sk

import engine.processes
import engine.worker
from cli.app import run_terminal
from engine.evaluation.report_store import ReportStore
from engine.home import Home
from engine.journal import read_journal
from engine.messages import EvalFinished, ReadReportRows, RunFinished, StepFinished
from engine.predict import Predictor
from tests.tiny_encoder import add_tiny_encoder
from tests.tiny_model import add_tiny_model
from tests.tiny_translator import new_model, phrases
from tests.unit.cli.conftest import Answer, Say

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the worker is forked")

WORDS = ("lamp", "parcel", "password", "link", "page", "table")
NUM_ROWS = 60


def _labelled(n: int) -> dict[str, Any]:
    opinion = ("thank you , a good", "sorry , a broken", "where is my")[n % 3]
    return {"text": f"{opinion} {WORDS[n % 6]} {n}", "label": ("good", "bad", "lost")[n % 3]}


def _tagged(n: int) -> dict[str, Any]:
    place = ("paris", "france")[n % 2]
    return {"tokens": ["we", "go", "to", place, str(n)], "tags": ["O", "O", "O", "B-LOC", "O"]}


def _asked(n: int) -> dict[str, Any]:
    thing, place = WORDS[n % 6], ("paris", "france")[n % 2]
    context = f"hello . the {thing} left for {place} at {n}"
    answers = {"text": [place], "answer_start": [context.index(place)]}
    return {"question": f"where is the {thing} ?", "context": context, "answers": answers}


def _pair(n: int) -> dict[str, Any]:
    return {"anchor": f"the {WORDS[n % 6]} {n}", "positive": f"that {WORDS[n % 6]} {n}"}


def _told(n: int) -> dict[str, Any]:
    return {"prompt": f"What is {n % 8} plus {n % 5}?", "completion": f"It is {n % 8 + n % 5}."}


def _topical(n: int) -> dict[str, Any]:
    labels = [name for name, turn in (("lamp", 2), ("late", 3), ("polite", 5)) if n % turn == 0] or ["other"]
    return {"text": " ".join([*labels, WORDS[n % 6], str(n)]), "labels": labels}


def _related(n: int) -> dict[str, Any]:
    one, two = WORDS[n % 6], WORDS[(n if n % 2 else n + 1) % 6]
    return {"premise": f"the {one} {n}", "hypothesis": f"a {two}", "label": "same" if n % 2 else "other"}


DATA: dict[str, Callable[[int], dict[str, Any]]] = {
    "labelled": _labelled, "topical": _topical, "related": _related, "tagged": _tagged, "asked": _asked,
    "pairs": _pair, "told": _told,
    "plain": lambda n: {"text": f"thank you for the {WORDS[n % 6]} number {n} , it left our warehouse today"},
    "phrases": lambda n: phrases()[n],
}  # fmt: skip
ENCODER, DECODER, TRANSLATOR = "tiny-encoder", "tiny", "untaught"
INPUTS = {
    "text-classification": ["--text", "a broken lamp"],
    "token-classification": ["--text", "we go to paris"],
    "question-answering": ["--input", "question=where ?", "--input", "context=the lamp left for paris"],
    "masked-lm": ["--text", "thank you for the [MASK]"],
    "embedding": ["--input", "first=the lamp", "--input", "second=that lamp"],
    "seq2seq": ["--text", "Open the file"],
}
TASKS = {
    "text-classification": (ENCODER, "labelled", ("full", "lora", "prompt")),
    "token-classification": (ENCODER, "tagged", ("full", "lora", "prompt")),
    "question-answering": (ENCODER, "asked", ("full", "lora", "prompt")),
    "masked-lm": (ENCODER, "plain", ("full", "lora")),
    "embedding": (ENCODER, "pairs", ("full", "lora", "prompt")),
    "causal-lm": (DECODER, "told", ("full", "lora", "prefix")),
    "seq2seq": (TRANSLATOR, "phrases", ("full", "lora", "prefix")),
}
CELLS = [(task, method) for task, (_, _, methods) in TASKS.items() for method in methods]
HAS_BITSANDBYTES = importlib.util.find_spec("bitsandbytes") is not None
EARLY_END = "early end by accuracy"
STRATEGIES: dict[str, dict[str, Any]] = {
    "adafactor, linear": {"optimizer": "adafactor", "schedule": "linear"},
    "sgd, restarts": {"optimizer": "sgd", "schedule": "cosine-restarts"},
    "lion, exponential": {"optimizer": "lion", "schedule": "exponential", "learning_rate": 1e-4},
    "muon, polynomial": {"optimizer": "muon", "schedule": "polynomial"},
    "inverse square root, decay": {"schedule": "inverse-sqrt", "weight_decay": 0.1, "l1": 1e-5, "model_dropout": 0.1},
    "warm-up, stable, decay; weights, focal, smoothing": {
        "schedule": "wsd", "class_weights": "balanced", "focal_gamma": 2, "label_smoothing": 0.1,
    },
    "constant, fgm": {"schedule": "constant", "adversarial": "fgm"},
    "plateau, pgd": {"schedule": "reduce-on-plateau", "adversarial": "pgd", "adversarial_steps": 2},
    "means; memory, short first": {"ema_decay": 0.9, "gradient_checkpointing": "true", "curriculum": "length"},
    "unfreezing, layers, accumulation": {
        "unfreeze_every_steps": 2, "layer_lr_decay": 0.8, "gradient_accumulation_steps": 2,
    },
    EARLY_END: {"early_stopping_patience": 1, "best_by": "accuracy", "eval_every_steps": 1, "learning_rate": 1e-9},
}  # fmt: skip


class ForkedWorker:
    """Stands where a new interpreter would be started for `engine.worker`: the same main, in a fork of this one."""

    def __init__(self, command: list[str], **options: Any) -> None:
        assert command[-2] == "engine.worker"
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.setsid()
                log = options["stdout"].fileno()
                os.dup2(log, 1)
                os.dup2(log, 2)
                code = engine.worker.main(command[-1:])
            finally:
                os._exit(code)


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with the three kinds of model and rows of every shape; copied by each test."""
    from engine.data.library import DataLibrary

    home = Home(tmp_path_factory.mktemp("stocked") / "home").create()
    add_tiny_encoder(home.models, ENCODER)
    add_tiny_model(home.models, DECODER)
    for name, row in DATA.items():
        file = home.root / f"{name}.jsonl"
        file.write_text("\n".join(json.dumps(row(n)) for n in range(NUM_ROWS)), encoding="utf-8")
        DataLibrary(home).import_files([str(file)], name)
    new_model(home, TRANSLATOR, data="phrases", kind="encoder-decoder")
    return home


@pytest.fixture
def home(stocked: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    import torch

    torch.set_num_threads(1)
    forking = SimpleNamespace(Popen=ForkedWorker, DEVNULL=subprocess.DEVNULL, STDOUT=subprocess.STDOUT)
    monkeypatch.setattr(engine.processes, "subprocess", forking)
    shutil.copytree(stocked.root, tmp_path / "home")
    return Home(tmp_path / "home")


@pytest.fixture
def say(home: Home, capsys: pytest.CaptureFixture[str]) -> Say:
    """`say("runs", "--json")`: the command on this test's home, in this process."""

    def say(*words: str) -> Answer:
        capsys.readouterr()
        code = run_terminal([*words, "--home", str(home.root)])
        return Answer(code, *capsys.readouterr())

    return say


def trained(say: Say, model: str, data: str, method: str, task: str, **settings: Any) -> Answer:
    fixed = {"num_steps": 6, "dtype": "float32", "sample_max_new_tokens": 4, "max_seq_len": 64}
    words = [word for key, value in (fixed | settings).items() for word in ("--set", f"{key}={value}")]
    done = say(
        "train", "--model", model, "--data", data, "--method", method, "--task", task, *words, "--json"
    )
    assert done.code == 0, done.out + done.err
    return done


def rows_of(home: Home, report: str) -> list[Any]:
    return list(ReportStore(home).rows(ReadReportRows(report, num_rows=1000)).rows)


@pytest.mark.parametrize(("task", "method"), CELLS)
def test_from_rows_to_figures(home: Home, say: Say, task: str, method: str) -> None:
    model, data, _ = TASKS[task]
    run = trained(say, model, data, method, task).json
    assert (run["status"], run["steps"]) == ("finished", 6), run
    if task == "causal-lm":
        said = say("generate", run["id"], "--prompt", "What is 1 plus 1?", "--max-new-tokens", "4", "--json")
        assert said.code == 0 and said.json["num_new_tokens"] <= 4, said.out
    else:
        said = say("predict", run["id"], *INPUTS[task], "--json")
        assert said.code == 0 and said.json["task"] == task, said.out
    judged = say("evaluate", run["id"], "--no-baselines", "--json")
    assert judged.code == 0, judged.out
    assert judged.json["task"] == task and judged.json["num_rows"] == 6
    watched = [
        entry.event for entry in read_journal(home.run(run["id"]))[0] if isinstance(entry.event, EvalFinished)
    ]
    assert judged.json["metrics"]["loss"] == pytest.approx(watched[-1].val_loss, rel=1e-4)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_classifier_learns_with_each_strategy(home: Home, say: Say, name: str) -> None:
    settings = {"eval_every_steps": 2, "learning_rate": 1e-3} | STRATEGIES[name]
    run = trained(say, ENCODER, "labelled", "full", "text-classification", **settings).json
    events = [entry.event for entry in read_journal(home.run(run["id"]))[0]]
    losses = [event.train_loss for event in events if isinstance(event, StepFinished)]
    assert len(losses) == (2 if name == EARLY_END else 6), "it ends after a validation that was no better"
    assert isinstance(events[-1], RunFinished)
    assert events[-1].result_step == (1 if name == EARLY_END else 6)
    assert all(loss is not None and 0 < loss < 10 for loss in losses)


def test_several_labels_at_once(home: Home, say: Say) -> None:
    """Each label is a yes or no of its own; the figures are those of scikit-learn over the report's rows."""
    settings = {"num_steps": 60, "learning_rate": 3e-3, "best_by": "f1_micro"}
    run = trained(say, ENCODER, "topical", "full", "text-classification", **settings).json["id"]
    card = json.loads((home.run(run) / "final" / "task.json").read_text(encoding="utf-8"))
    assert card["facts"]["is_multi_label"] and card["facts"]["labels"] == ["lamp", "late", "other", "polite"]
    judged = say("evaluate", run, "--split", "all", "--no-baselines", "--json")
    assert judged.code == 0, judged.out
    rows, labels = rows_of(home, judged.json["id"]), card["facts"]["labels"]
    truth = [[int(label in row.truth.split(", ")) for label in labels] for row in rows]
    shares = [
        [{each.label: each.score for each in row.probabilities}[label] for label in labels] for row in rows
    ]
    said = [[int(share >= 0.5) for share in row] for row in shares]
    found = judged.json["metrics"]
    expected = {
        "f1_micro": sk.f1_score(truth, said, average="micro", zero_division=0),
        "f1_macro": sk.f1_score(truth, said, average="macro", zero_division=0),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    untuned = next(
        entry.event.metrics["f1_micro"]
        for entry in read_journal(home.run(run))[0]
        if isinstance(entry.event, EvalFinished)
    )
    assert found["f1_micro"] > untuned + 0.1
    answer = say("predict", run, "--text", "lamp late polite parcel 30", "--json").json["labels"]
    assert {each["label"] for each in answer} == set(labels)


def test_pairs_are_read_as_pairs(home: Home, say: Say) -> None:
    run = trained(say, ENCODER, "related", "lora", "text-classification").json["id"]
    asked = ["--input", "text=the lamp", "--input", "text_pair=a lamp"]
    together = say("predict", run, *asked, "--json").json["labels"]
    others = say("predict", run, *asked[:3], "text_pair=seven days of rain", "--json").json["labels"]
    assert together != others, "the second text is read"
    assert say("predict", run, *asked[:2], "--json").json["error"]["code"] == "input-missing"
    single = trained(say, ENCODER, "labelled", "lora", "text-classification").json["id"]
    roles = [Predictor.load(home, each).task.roles for each in (run, single)]
    assert roles == [("text", "text_pair"), ("text",)]
    card = home.run(run) / "final" / "task.json"
    facts = json.loads(card.read_text(encoding="utf-8"))
    assert facts["facts"].pop("is_pair")
    card.write_text(json.dumps(facts), encoding="utf-8")
    assert Predictor.load(home, run).task.roles == roles[0], "saved by an older version: its data set says so"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"method": "qlora"}, "no-four-bits"),
        ({"method": "full", "optimizer": "adamw-8bit"}, "optimizer-unavailable"),
    ],
    ids=["four bits", "eight bits"],
)
@pytest.mark.parametrize(
    ("model", "data", "task"), [(ENCODER, "labelled", "text-classification"), (DECODER, "told", "causal-lm")]
)
def test_without_bitsandbytes_it_is_said_before_there_is_a_run(
    home: Home, say: Say, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], code: str, model: str,
    data: str, task: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("engine.method_refusals.importlib.util.find_spec", lambda _name: None)
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    refused = say("train", "--model", model, "--data", data, "--task", task, *words, "--json")
    assert refused.code == 1 and refused.json["error"]["code"] == code, refused.out
    assert "bitsandbytes" in refused.json["error"]["message"] and "choose" in refused.json["error"]["message"]
    assert list(home.runs.glob("*")) == []


@pytest.mark.skipif(not HAS_BITSANDBYTES, reason="bitsandbytes is not installed")
@pytest.mark.parametrize(
    ("model", "data", "task"), [(ENCODER, "labelled", "text-classification"), (DECODER, "told", "causal-lm")]
)
def test_with_bitsandbytes_it_trains(home: Home, say: Say, model: str, data: str, task: str) -> None:
    for method, settings in (("qlora", {}), ("full", {"optimizer": "adamw-8bit"})):
        run = trained(say, model, data, method, task, **settings).json
        assert (run["status"], run["steps"]) == ("finished", 6), run


def test_a_head_that_is_the_table_of_words_is_refused_before_there_is_a_run(home: Home, say: Say) -> None:
    settings = ["--method", "head-only", "--task", "seq2seq", "--json"]
    refused = say("train", "--model", TRANSLATOR, "--data", "phrases", *settings)
    assert refused.code == 1 and refused.json["error"]["code"] == "no-head", refused.out
    assert "last-layers" in refused.json["error"]["message"]
    assert list(home.runs.glob("*")) == []
    run = trained(say, TRANSLATOR, "phrases", "last-layers", "seq2seq").json
    assert run["status"] == "finished", "as the sentence says"


def test_figures_are_those_of_scikit_learn_and_wrong_rows_a_data_set(home: Home, say: Say) -> None:
    run = trained(say, ENCODER, "labelled", "lora", "text-classification", num_steps=8).json["id"]
    judged = say("evaluate", run, "--split", "all", "--save-hard", "hard", "--json")
    assert judged.code == 0, judged.out
    rows, found = rows_of(home, judged.json["id"]), judged.json["metrics"]
    truth, said = [row.truth for row in rows], [row.prediction for row in rows]
    labels = sorted(set(truth))
    scores = [
        [{each.label: each.score for each in row.probabilities}[label] for label in labels] for row in rows
    ]
    macro = {"average": "macro", "zero_division": 0, "labels": labels}
    expected = {
        "accuracy": sk.accuracy_score(truth, said),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, said),
        "precision_macro": sk.precision_score(truth, said, **macro),
        "recall_macro": sk.recall_score(truth, said, **macro),
        "f1_macro": sk.f1_score(truth, said, **macro),
        "f1_micro": sk.f1_score(truth, said, average="micro"),
        "auc": sk.roc_auc_score(truth, scores, multi_class="ovr", labels=labels),
        "loss": sk.log_loss(truth, scores, labels=labels),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    wrong = [row.inputs["text"] for row in rows if row.truth != row.prediction]
    assert judged.json["num_wrong"] == len(wrong) > 0
    assert say("evaluate", run, "--data", "hard", "--no-baselines", "--json").json["metrics"]["accuracy"] == 0
    hard = say("data", "show", "hard", "--json").json
    assert hard["rows_kept"] == len(wrong)


@pytest.mark.parametrize(
    ("task", "predict"), [("text-classification", True), ("causal-lm", False)], ids=["encoder", "decoder"]
)
def test_merged_is_what_was_trained(home: Home, say: Say, task: str, predict: bool) -> None:
    model, data, _ = TASKS[task]
    run = trained(say, model, data, "lora", task, learning_rate=1e-2).json["id"]
    merged = say("models", "merge", run, "--name", "whole", "--json")
    assert merged.code == 0, merged.out
    judged = [
        say("evaluate", source, "--data", data, "--task", task, "--split", "all", "--no-baselines", "--json")
        for source in (run, merged.json["id"])
    ]
    assert [each.code for each in judged] == [0, 0], judged[-1].out
    first, second = (each.json["metrics"] for each in judged)
    # Two rows of nearly the same probability may change places: figures of order jump by what one row weighs.
    ordered = {name: first.pop(name) for name in ("auc", "average_precision") if name in first}
    assert {name: second.pop(name) for name in ordered} == pytest.approx(ordered, abs=0.03)
    assert second == pytest.approx(first, abs=1e-4)
    asked = ["predict", "whole", *INPUTS[task]] if predict else ["generate", "whole", "--prompt", "a"]
    assert say(*asked, "--json").code == 0


def test_a_student_learns_from_a_run(home: Home, say: Say) -> None:
    teacher = trained(say, ENCODER, "labelled", "full", "text-classification").json["id"]
    for method in ("full", "lora"):
        settings = {"teacher": teacher, "distill_hidden": 0.5}
        trained(say, ENCODER, "labelled", method, "text-classification", **settings)
    trained(say, DECODER, "told", "full", "causal-lm", teacher=DECODER, neftune_alpha=5)


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("text-classification", {"adversarial": "fgm", "ema_decay": 0.9, "optimizer": "lion"}),
        ("causal-lm", {"neftune_alpha": 5, "unfreeze_every_steps": 4, "model_dropout": 0.1}),
    ],
    ids=["encoder", "decoder"],
)
def test_what_was_killed_goes_on_as_if_nothing_had_been(
    home: Home,
    say: Say,
    task: str,
    settings: dict[str, Any],
) -> None:
    model, data, _ = TASKS[task]
    fixed = {"num_steps": 40, "save_every_steps": 10, "eval_every_steps": 40} | settings
    whole = trained(say, model, data, "full", task, **fixed).json["id"]
    words = [word for key, value in fixed.items() for word in ("--set", f"{key}={value}")]
    same = ["--set", "dtype=float32", "--set", "sample_max_new_tokens=4", "--set", "max_seq_len=64"]
    begun = say(
        "train", "--model", model, "--data", data, "--method", "full", "--task", task, *words, *same,
        "--detach", "--json",
    ).json["id"]  # fmt: skip
    end = time.monotonic() + 60
    while max(losses_of(home, begun), default=0) < 12 and time.monotonic() < end:
        time.sleep(0.005)
    pid = json.loads((home.run(begun) / "worker.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert 12 <= max(losses_of(home, begun)) < 40
    resumed = say("resume", begun, "--follow", "--json")
    assert resumed.code == 0 and resumed.json["status"] == "finished", resumed.out
    assert losses_of(home, begun) == losses_of(home, whole)


def losses_of(home: Home, run: str) -> dict[int, float | None]:
    events = [entry.event for entry in read_journal(home.run(run))[0]]
    return {event.step: event.train_loss for event in events if isinstance(event, StepFinished)}
