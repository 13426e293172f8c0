"""Evaluation end to end on tiny trained runs: figures against scikit-learn, reports, hard sets, what does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, roc_auc_score

from engine.data.library import DataLibrary
from engine.errors import Cancelled, UserError
from engine.evaluation.child import evaluate_in_child
from engine.evaluation.evaluate import evaluate
from engine.evaluation.hard_set import save_hard_set
from engine.evaluation.report_store import ReportStore
from engine.home import Home
from engine.messages import EvaluateModel, ReadReportRows, Report, ReportRow
from engine.processes import create_run
from engine.recipe import Recipe
from engine.worker import Worker
from tests.trained_tasks import import_rows

WORDS = {"good": ("thank you", "hello"), "bad": ("broken", "sorry"), "other": ("lamp", "two hundred")}


def trained(home: Home, **recipe: Any) -> str:
    """A run that was trained to its end in this process; its id."""
    wished = {"dtype": "float32", "device": "cpu", "method": "full", "learning_rate": 3e-4, "num_threads": 1}
    run = create_run(home, Recipe.from_dict(wished | recipe))
    assert Worker(home.run(run)).run() == 0, (home.run(run) / "events.jsonl").read_text()[-2000:]
    return run


def reviews(number: int, **columns: Any) -> list[dict[str, Any]]:
    """Rows whose labels follow from a word, one in six labelled at odds with it."""
    labels = list(WORDS)
    rows = []
    for each in range(number):
        label = labels[each % 3]
        words = WORDS[label][each % 2]
        if each % 6 == 5:
            label = labels[(each + 1) % 3]
        row = {"text": f"{words} number {each} " + "one two " * (each % 4), "label": label}
        rows.append(row | {name: value(each) for name, value in columns.items()})
    return rows


@pytest.fixture(scope="module")
def trained_home(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, str]:
    folder = tmp_path_factory.mktemp("trained")
    home = Home(folder / "home").create()
    shutil.copytree(tiny_encoder, home.models / "tiny-encoder")
    import_rows(home, folder, "reviews", reviews(120))
    return home, trained(home, model="tiny-encoder", data="reviews", num_steps=30, validation_fraction=0.3)


@pytest.fixture
def classifier(trained_home: tuple[Home, str], tmp_path: Path) -> tuple[Home, str]:
    """A home of this test's own with a trained run in it."""
    home, run = trained_home
    shutil.copytree(home.root, tmp_path / "home")
    return Home(tmp_path / "home"), run


def judge(home: Home, source: str, **order: Any) -> Report:
    return evaluate(home, EvaluateModel(source, **order), lambda *_: None, lambda: None)


def rows_of(home: Home, report: Report, **request: Any) -> list[ReportRow]:
    request.setdefault("num_rows", 1000)
    return list(ReportStore(home).rows(ReadReportRows(report.info.id, **request)).rows)


def test_figures_of_a_run_equal_scikit_learn_on_its_held_out_rows(classifier: tuple[Home, str]) -> None:
    home, run = classifier
    report = judge(home, run)
    rows = rows_of(home, report)
    data, recipe = DataLibrary(home).open("reviews"), Recipe.load(home.run(run) / "recipe.toml")
    from engine.data.split import choose_split

    assert [row.position for row in rows] == choose_split(data, recipe)[1]
    assert [row.truth for row in rows] == [data.values(row.position)["label"] for row in rows]

    truth, said = [row.truth for row in rows], [row.prediction for row in rows]
    metrics = report.info.metrics
    assert metrics["accuracy"] == pytest.approx(accuracy_score(truth, said))
    assert metrics["f1_macro"] == pytest.approx(f1_score(truth, said, average="macro"))
    shares = np.asarray(
        [[{p.label: p.score for p in row.probabilities}[label] for label in report.labels] for row in rows]
    )
    expected = roc_auc_score(truth, shares, multi_class="ovr", labels=list(report.labels))
    assert metrics["auc"] == pytest.approx(expected)
    assert [list(row) for row in report.confusion] == confusion_matrix(
        truth, said, labels=report.labels
    ).tolist()
    right = [float(dict((p.label, p.score) for p in row.probabilities)[row.truth]) for row in rows]
    assert metrics["loss"] == pytest.approx(float(-np.log(right).mean()), abs=1e-5)
    low, high = report.intervals["accuracy"]
    assert low <= metrics["accuracy"] <= high
    assert report.info.num_wrong == sum(a != b for a, b in zip(truth, said, strict=True))
    assert report.error_counts[""] == len(rows) - report.info.num_wrong
    assert [note.code for note in report.notes] == ["held-out"]


def test_the_last_validation_of_the_run_says_the_same(classifier: tuple[Home, str]) -> None:
    home, run = classifier
    from engine.journal import read_journal
    from engine.messages import EvalFinished

    evaluations = [
        entry.event for entry in read_journal(home.run(run))[0] if isinstance(entry.event, EvalFinished)
    ]
    report = judge(home, run)
    assert report.info.metrics["accuracy"] == pytest.approx(evaluations[-1].metrics["accuracy"])
    assert report.info.metrics["loss"] == pytest.approx(evaluations[-1].val_loss, abs=1e-5)
    # The model before tuning has the very head that the run began with.
    assert report.baselines["untrained"]["loss"] == pytest.approx(evaluations[0].val_loss, abs=1e-5)


@pytest.mark.parametrize("method", ["lora", "prompt"])
def test_adapters_are_judged_with_what_they_have_learnt(classifier: tuple[Home, str], method: str) -> None:
    home, _run = classifier
    from engine.journal import read_journal
    from engine.messages import EvalFinished

    run = trained(home, model="tiny-encoder", data="reviews", num_steps=12, method=method, learning_rate=1e-2)
    evaluations = [
        entry.event for entry in read_journal(home.run(run))[0] if isinstance(entry.event, EvalFinished)
    ]
    report = judge(home, run)
    assert report.info.metrics["loss"] == pytest.approx(evaluations[-1].val_loss, abs=1e-5)
    assert abs(report.info.metrics["loss"] - report.baselines["untrained"]["loss"]) > 1e-3
    checkpoint = judge(home, f"{run}@{evaluations[-1].step}", with_baselines=False)
    assert checkpoint.info.metrics == report.info.metrics and checkpoint.info.run == run


def test_baselines_stand_beside_and_are_kept(
    classifier: tuple[Home, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, run = classifier
    first = judge(home, run)
    assert set(first.baselines) == {"majority", "tfidf", "untrained"}
    assert first.baselines["tfidf"]["accuracy"] > first.baselines["majority"]["accuracy"]
    assert first.info.metrics["accuracy"] > first.baselines["untrained"]["accuracy"]

    def never(*_: Any) -> None:
        raise AssertionError("the model before tuning was judged again")

    monkeypatch.setattr("engine.evaluation.evaluate.load_untrained", never)
    assert judge(home, run).baselines == first.baselines
    with pytest.raises(AssertionError):
        judge(home, run, limit=5)
    assert judge(home, run, with_baselines=False).baselines == {}


def test_a_report_survives_as_it_was_and_can_be_put_in_the_trash(classifier: tuple[Home, str]) -> None:
    home, run = classifier
    report = judge(home, run)
    store = ReportStore(home)
    assert store.read(report.info.id) == report
    assert [info.id for info in store.list(run)] == [report.info.id] and store.list("another") == []
    assert sorted(path.name for path in store.folder(report.info.id).iterdir()) == [
        "info.json", "report.json", "rows.arrow"
    ]  # fmt: skip
    token = store.delete(report.info.id)
    assert store.list() == []
    with pytest.raises(UserError, match="There is no report"):
        store.read(report.info.id)
    store.restore(token)
    assert store.read(report.info.id) == report


def test_rows_are_filtered_and_ordered(classifier: tuple[Home, str]) -> None:
    home, run = classifier
    report = judge(home, run, split="all")
    everything = rows_of(home, report)
    assert len(everything) == 120
    assert [row.score for row in rows_of(home, report, order="best")] == sorted(
        (r.score for r in everything), reverse=True
    )
    assert rows_of(home, report, order="worst")[0].score == min(row.score for row in everything)
    wrong = rows_of(home, report, show="wrong")
    assert len(wrong) == report.info.num_wrong > 0 and all(row.error for row in wrong)
    assert all(row.truth == "bad" for row in rows_of(home, report, truth="bad"))
    cell = rows_of(home, report, truth="bad", prediction="good")
    labels = list(report.labels)
    assert len(cell) == report.confusion[labels.index("bad")][labels.index("good")]
    shuffled = [row.position for row in rows_of(home, report, order="random", seed=3)]
    assert shuffled == [row.position for row in rows_of(home, report, order="random", seed=3)]
    assert sorted(shuffled) == list(range(120)) != shuffled
    long = rows_of(home, report, min_length=12, max_length=14)
    assert 0 < len(long) < 120 and all(12 <= row.length <= 14 for row in long)
    error = wrong[0].error
    assert len(rows_of(home, report, error=error)) == report.error_counts[error]


def test_the_hard_set_holds_the_wrong_rows_and_trains(classifier: tuple[Home, str]) -> None:
    home, run = classifier
    report = judge(home, run, split="all")
    info = save_hard_set(home, report.info.id, "hard")
    wrong = rows_of(home, report, show="wrong")
    hard = DataLibrary(home).open("hard")
    assert [hard.values(place)["text"] for place in range(len(hard))] == [row.inputs["text"] for row in wrong]
    assert (info.shape, info.roles) == ("text-label", {"text": "text", "label": "label"})
    assert save_hard_set(home, report.info.id, "hard") == info  # the same rows again
    again = judge(home, run, data="hard")
    assert again.info.metrics["accuracy"] == 0.0 and again.info.num_rows == report.info.num_wrong
    with pytest.raises(UserError) as refusal:
        save_hard_set(home, judge(home, run).info.id, "reviews")
    assert refusal.value.code == "hard-set-name-taken"


def test_labels_that_the_model_does_not_know_are_counted_or_refused(
    classifier: tuple[Home, str], tmp_path: Path
) -> None:
    home, run = classifier
    strange = [{"text": f"hello {n}", "label": "strange" if n % 4 == 0 else "good"} for n in range(20)]
    import_rows(home, tmp_path, "mixed", strange)
    report = judge(home, run, data="mixed")
    assert (report.left_out, report.left_out_values) == ({"label-unknown": 5}, ("strange",))
    assert report.info.num_rows == 15
    import_rows(home, tmp_path, "foreign", [{"text": f"hello {n}", "label": f"x{n % 2}"} for n in range(8)])
    with pytest.raises(UserError, match="knows none of the labels of 'foreign'") as refusal:
        judge(home, run, data="foreign")
    assert refusal.value.code == "labels-unfit" and len(ReportStore(home).list()) == 1


def test_rows_of_another_shape_are_refused(classifier: tuple[Home, str], tmp_path: Path) -> None:
    home, run = classifier
    import_rows(
        home, tmp_path, "replies", [{"prompt": f"number {n}?", "completion": "one"} for n in range(8)]
    )
    with pytest.raises(UserError, match="cannot judge") as refusal:
        judge(home, run, data="replies")
    assert refusal.value.code == "rows-unfit"


def test_rows_with_several_labels_are_not_judged_by_their_first(
    classifier: tuple[Home, str], tmp_path: Path
) -> None:
    home, run = classifier
    rows = [{"text": f"hello {n}", "label": ["good", "bad"][: 1 + n % 2]} for n in range(20)]
    import_rows(home, tmp_path, "several", rows)
    report = judge(home, run, data="several")
    assert report.info.num_rows == 10
    assert (report.left_out, report.left_out_values) == ({"label-unknown": 10}, ("bad, good",))


def test_rows_of_two_texts_are_refused_by_a_model_of_one_and_the_other_way_round(
    classifier: tuple[Home, str], tmp_path: Path
) -> None:
    home, run = classifier
    pairs = [{"text1": f"hello {n}", "text2": "lamp", "label": ("good", "bad")[n % 2]} for n in range(20)]
    import_rows(home, tmp_path, "pairs", pairs)
    with pytest.raises(UserError, match="rows of the shape pair-label") as refusal:
        judge(home, run, data="pairs")
    assert refusal.value.code == "rows-unfit"
    run = trained(home, model="tiny-encoder", data="pairs", num_steps=2)
    with pytest.raises(UserError, match="'reviews' has rows of the shape text-label") as refusal:
        judge(home, run, data="reviews")
    assert refusal.value.code == "rows-unfit" and not ReportStore(home).list()


def test_a_single_text_that_is_too_short_to_be_parted_has_no_held_out_rows(
    encoder_home: Home, tmp_path: Path
) -> None:
    (tmp_path / "line.txt").write_text("hello")
    DataLibrary(encoder_home).import_files([tmp_path / "line.txt"], "line")
    run = trained(encoder_home, model="tiny-encoder", data="line", num_steps=2)
    with pytest.raises(UserError, match="There are no validation rows in 'line'") as refusal:
        judge(encoder_home, run)
    assert refusal.value.code == "split-empty"


def test_a_model_of_the_library_without_a_head_is_the_untrained_one(classifier: tuple[Home, str]) -> None:
    home, _run = classifier
    report = judge(home, "tiny-encoder", data="reviews", split="validation")
    assert "untrained" in [note.code for note in report.notes]
    assert set(report.baselines) == {"majority", "tfidf"}
    with pytest.raises(UserError) as refusal:
        judge(home, "tiny-encoder")
    assert refusal.value.code == "data-missing"


def test_groups_are_compared(encoder_home: Home, tmp_path: Path) -> None:
    rows = reviews(90, region=lambda each: "north" if each % 2 else "south")
    import_rows(encoder_home, tmp_path, "fair", rows, roles={"region": "group"})
    run = trained(encoder_home, model="tiny-encoder", data="fair", num_steps=8)
    report = judge(encoder_home, run, split="all", with_baselines=False)
    assert [group["group"] for group in report.groups] == ["north", "south"]
    found = rows_of(encoder_home, report)
    rates = [
        np.mean([row.error == "" for row in found if row.group == group]) for group in ("north", "south")
    ]
    assert [group["accuracy"] for group in report.groups] == pytest.approx(rates)
    assert report.info.metrics["accuracy_gap"] == pytest.approx(abs(rates[0] - rates[1]))


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_weights_are_a_sentence(encoder_home: Home, tmp_path: Path, damage: str) -> None:
    import_rows(encoder_home, tmp_path, "reviews", reviews(30))
    run = trained(encoder_home, model="tiny-encoder", data="reviews", num_steps=1, method="lora")
    weights = encoder_home.run(run) / "final" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100]) if damage == "cut" else weights.unlink()
    with pytest.raises(UserError, match="could not be opened: ") as refusal:
        judge(encoder_home, run)
    assert refusal.value.code == "adapter-unreadable" and not ReportStore(encoder_home).list()


def test_a_cancelled_child_leaves_nothing(classifier: tuple[Home, str]) -> None:
    home, run = classifier
    told = []

    def cancel() -> None:
        if told:
            raise Cancelled

    with pytest.raises(Cancelled):
        evaluate_in_child(home, EvaluateModel(run), lambda *news: told.append(news), cancel)
    assert (
        told and not list(home.reports.glob("*")) and not [p for p in home.downloads.glob("*") if p.is_dir()]
    )


def test_a_child_gives_the_report_or_the_sentence(classifier: tuple[Home, str]) -> None:
    home, run = classifier
    told: list[Any] = []
    done = evaluate_in_child(
        home, EvaluateModel(run, split="all"), lambda *news: told.append(news), lambda: None
    )
    assert done.metrics == ReportStore(home).read(done.report).info.metrics and done.num_rows == 120
    assert {phase for phase, *_ in told} & {"loading", "judging"}
    with pytest.raises(UserError, match="There is no data set 'nowhere'") as refusal:
        evaluate_in_child(home, EvaluateModel(run, data="nowhere"), lambda *_: None, lambda: None)
    assert refusal.value.code == "data-not-found"


def test_several_labels_at_once(encoder_home: Home, tmp_path: Path) -> None:
    rows = [
        {"text": f"{a} {b} number {n}", "label": label}
        for n in range(20) for (a, b, label) in (
            ("hello", "lamp", ["good", "other"]), ("sorry", "lamp", ["bad", "other"]), ("thank you", "two", ["good"])
        )
    ]  # fmt: skip
    import_rows(encoder_home, tmp_path, "several", rows)
    run = trained(
        encoder_home,
        model="tiny-encoder",
        data="several",
        num_steps=60,
        learning_rate=2e-3,
        validation_fraction=0.3,
    )
    report = judge(encoder_home, run)
    found = rows_of(encoder_home, report)
    same = [set(row.truth.split(", ")) == set(row.prediction.split(", ")) for row in found]
    assert report.info.metrics["subset_accuracy"] == pytest.approx(np.mean(same))
    assert [row.error == "" for row in found] == same
    assert report.info.metrics["subset_accuracy"] > report.baselines["majority"]["subset_accuracy"]


@pytest.fixture
def replies(tiny_home: Home, tmp_path: Path) -> tuple[Home, str]:
    rows = [{"prompt": f"number {n}?", "completion": f"one two {n % 7}"} for n in range(60)]
    import_rows(tiny_home, tmp_path, "replies", rows)
    run = trained(
        tiny_home, model="tiny", data="replies", num_steps=12, max_seq_len=64, learning_rate=3e-3,
        sample_max_new_tokens=4, validation_fraction=0.3,
    )  # fmt: skip
    return tiny_home, run


def test_a_decoder_is_judged_by_its_losses(replies: tuple[Home, str]) -> None:
    home, run = replies
    report = judge(home, run)
    found = rows_of(home, report)
    nats = sum(token.nats for row in found for token in row.tokens)
    from engine.journal import read_journal
    from engine.messages import EvalFinished

    evaluations = [
        entry.event for entry in read_journal(home.run(run))[0] if isinstance(entry.event, EvalFinished)
    ]
    metrics = report.info.metrics
    assert metrics["loss"] == pytest.approx(evaluations[-1].val_loss, abs=2e-3)
    assert metrics["perplexity"] == pytest.approx(np.exp(metrics["loss"]))
    assert metrics["token_accuracy"] == pytest.approx(evaluations[-1].metrics["token_accuracy"], abs=0.02)
    assert report.baselines["untrained"]["loss"] == pytest.approx(evaluations[0].val_loss, abs=2e-3)
    assert nats / metrics["loss"] == pytest.approx(
        round(nats / metrics["loss"]), abs=1e-3
    )  # a whole number of tokens
    assert found[0].truth.startswith("one two")
    assert "".join(token.text for token in found[0].tokens).startswith("one two")
    worst = rows_of(home, report, order="worst")
    assert worst[0].loss == max(row.loss for row in found) and worst[0].error == "high-loss"


def test_a_decoder_writes_replies_when_asked(replies: tuple[Home, str]) -> None:
    home, run = replies
    report = judge(home, run, generate=True, generate_limit=3, with_baselines=False)
    written = [row for row in rows_of(home, report) if row.prediction]
    assert len(written) <= 3 and {"bleu", "rougeL", "exact_match"} <= set(report.info.metrics)
    assert "generated" in [note.code for note in report.notes]


def test_a_long_text_is_judged_by_the_pieces_that_were_held_out(tiny_home: Home, tmp_path: Path) -> None:
    file = tmp_path / "story.txt"
    file.write_text("one two three hello thank you sorry broken lamp " * 120, encoding="utf-8")
    DataLibrary(tiny_home).import_files([str(file)], "story", text_unit="file")
    run = trained(
        tiny_home, model="tiny", data="story", num_steps=3, max_seq_len=32, validation_fraction=0.2,
        sample_max_new_tokens=4,
    )  # fmt: skip
    from engine.journal import read_journal
    from engine.messages import DataPrepared, EvalFinished

    events = [entry.event for entry in read_journal(tiny_home.run(run))[0]]
    [prepared] = [event for event in events if isinstance(event, DataPrepared)]
    report = judge(tiny_home, run, with_baselines=False)
    assert report.info.num_rows == prepared.num_val_rows > 1
    last = [event for event in events if isinstance(event, EvalFinished)][-1]
    assert report.info.metrics["loss"] == pytest.approx(last.val_loss, abs=2e-3)


def test_the_numbers_are_those_of_the_model_itself(replies: tuple[Home, str]) -> None:
    """Losses of tokens equal transformers' own on the same row."""
    home, run = replies
    report = judge(home, run, with_baselines=False)
    row = rows_of(home, report)[0]
    from transformers import AutoModelForCausalLM

    from engine.data.encode import encode_examples, load_tokenizer

    folder = home.run(run) / "final"
    tokenizer = load_tokenizer(folder)
    example = DataLibrary(home).open("replies").example(row.position, "causal-lm")
    [encoded] = encode_examples([example], tokenizer, max_seq_len=64, train_on="completions", is_lean=True)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        out = model(input_ids=torch.tensor([encoded.input_ids]), labels=torch.tensor([encoded.labels]))
    assert row.loss == pytest.approx(float(out.loss), abs=1e-5)
    assert (
        json.loads((ReportStore(home).folder(report.info.id) / "info.json").read_text())["task"]
        == "causal-lm"
    )
