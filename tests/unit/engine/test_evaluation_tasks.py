"""Every task's figures equal those of the run's own last validation, and its rows say what is behind them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sacrebleu import corpus_bleu
from seqeval.metrics import f1_score

from engine.data.library import DataLibrary
from engine.evaluation.evaluate import evaluate
from engine.evaluation.report_store import ReportStore
from engine.home import Home
from engine.journal import read_journal
from engine.messages import EvalFinished, EvaluateModel, ReadReportRows, Report, ReportRow
from engine.metrics.question_answering import cmrc_score
from engine.processes import create_run
from engine.recipe import Recipe
from engine.tasks.seq2seq import SequenceToSequence
from engine.worker import Worker
from tests.tiny_translator import import_rows as import_pairs
from tests.tiny_translator import make_tiny_translator, phrases
from tests.trained_tasks import import_rows
from tests.unit.engine.test_task_question_answering import rows as questions
from tests.unit.engine.test_task_token_classification import rows as sentences


def judged(home: Home, **recipe: Any) -> tuple[Report, list[ReportRow], list[EvalFinished]]:
    """A run trained in this process, its report, the rows, and its own evaluations."""
    wished = {
        "model": "tiny-encoder", "dtype": "float32", "device": "cpu", "method": "full", "learning_rate": 1e-3,
        "num_threads": 1, "num_steps": 20, "validation_fraction": 0.3,
    }  # fmt: skip
    run = create_run(home, Recipe.from_dict(wished | recipe))
    assert Worker(home.run(run)).run() == 0, (home.run(run) / "events.jsonl").read_text()[-2000:]
    report = evaluate(home, EvaluateModel(run), lambda *_: None, lambda: None)
    rows = ReportStore(home).rows(ReadReportRows(report.info.id, num_rows=1000)).rows
    events = [entry.event for entry in read_journal(home.run(run))[0]]
    return report, list(rows), [event for event in events if isinstance(event, EvalFinished)]


def same(report: Report, evaluations: list[EvalFinished], *, tolerance: float = 1e-5) -> None:
    """The report says of the trained model what the run's last validation said, and of the untrained one its first."""
    for found, event in (
        (report.info.metrics, evaluations[-1]),
        (report.baselines["untrained"], evaluations[0]),
    ):
        assert found["loss"] == pytest.approx(event.val_loss, abs=tolerance)
        for name, value in event.metrics.items():
            assert found[name] == pytest.approx(value, abs=tolerance), name


def test_names(encoder_home: Home, tmp_path: Path) -> None:
    import_rows(encoder_home, tmp_path, "names", sentences())
    report, rows, evaluations = judged(encoder_home, data="names")
    same(report, evaluations)
    assert "frequent-tag" in report.baselines
    data = DataLibrary(encoder_home).open("names")
    assert all(len(row.tokens) == len(data.values(row.position)["tokens"]) for row in rows)
    nats = [token.nats for row in rows for token in row.tokens]
    assert np.mean(nats) == pytest.approx(report.info.metrics["loss"], abs=1e-4)
    assert report.info.num_wrong == sum(row.truth != row.prediction for row in rows)
    truth = [data.values(row.position)["tags"] for row in rows]
    assert f1_score(truth, truth) == 1.0 and {each["label"] for each in report.per_class} >= {
        tag[2:] for tags in truth for tag in tags if tag != "O"
    }


def test_questions(encoder_home: Home, tmp_path: Path) -> None:
    import_rows(encoder_home, tmp_path, "passages", questions(some_unanswerable=True))
    report, rows, evaluations = judged(encoder_home, data="passages", max_seq_len=64)
    same(report, evaluations)
    assert np.mean([row.score for row in rows]) == pytest.approx(report.info.metrics["f1"])
    assert np.mean([row.error == "" for row in rows]) == pytest.approx(report.info.metrics["exact_match"])
    assert all(row.probabilities[0].label.strip() == row.prediction for row in rows if row.probabilities)
    assert set(report.baselines) == {"untrained"}


def test_questions_are_counted_in_the_language_of_the_rows_that_are_judged(
    encoder_home: Home, tmp_path: Path
) -> None:
    """A model that learnt from English rows, over Chinese ones: by character, as CMRC does."""
    import_rows(encoder_home, tmp_path, "passages", questions())
    wanted = "今天天气很好，我们去公园吧"
    chinese = [
        {
            "question": f"去哪里 {n} ？",
            "context": f"{wanted}。",
            "answers": {"text": [wanted], "answer_start": [0]},
        }
        for n in range(4)
    ]
    import_rows(encoder_home, tmp_path, "passages-zh", chinese)
    run = create_run(
        encoder_home,
        Recipe.from_dict({"model": "tiny-encoder", "data": "passages", "num_steps": 1, "num_threads": 1}),
    )
    assert Worker(encoder_home.run(run)).run() == 0
    report = evaluate(encoder_home, EvaluateModel(run, data="passages-zh"), lambda *_: None, lambda: None)
    rows = ReportStore(encoder_home).rows(ReadReportRows(report.info.id, num_rows=10)).rows
    scores = [cmrc_score(row.prediction, wanted).f1 for row in rows]
    assert [row.score for row in rows] == scores and any(scores)
    assert report.info.metrics["f1"] == pytest.approx(np.mean(scores))


def test_pairs_that_belong_together_and_pairs_with_a_score(encoder_home: Home, tmp_path: Path) -> None:
    words = ("thank you", "hello", "broken", "sorry", "lamp", "two hundred", "one two")
    pairs = [{"anchor": f"{a} {b}", "positive": f"{b} {a} number"} for a in words for b in words if a != b]
    import_rows(encoder_home, tmp_path, "pairs", pairs)
    report, rows, evaluations = judged(encoder_home, data="pairs", task="embedding")
    same(report, evaluations)
    assert np.mean([row.error == "" for row in rows]) == pytest.approx(report.info.metrics["recall_at_1"])
    assert {"untrained", "tfidf"} == set(report.baselines)

    scored = [
        {"sentence1": pair["anchor"], "sentence2": pair["positive"], "score": float(n % 6)}
        for n, pair in enumerate(pairs)
    ]
    import_rows(encoder_home, tmp_path, "scored", scored)
    report, rows, evaluations = judged(encoder_home, data="scored", task="embedding")
    same(report, evaluations, tolerance=1e-4)
    assert {"spearman", "pearson"} <= set(report.intervals) and all("." in row.truth for row in rows)


def test_hidden_words(encoder_home: Home, tmp_path: Path) -> None:
    texts = [{"text": f"hello thank you number {n} broken lamp one two " * (1 + n % 3)} for n in range(40)]
    import_rows(encoder_home, tmp_path, "texts", texts)
    report, rows, evaluations = judged(encoder_home, data="texts", task="masked-lm")
    # A head for hidden words is new in this encoder, too.
    same(report, evaluations)
    losses, counts = zip(*[(row.loss, len(row.tokens)) for row in rows if row.loss is not None], strict=True)
    assert np.average(losses, weights=counts) == pytest.approx(report.info.metrics["loss"], abs=0.05)


def test_translations(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(make_tiny_translator(Home(tmp_path / "made").create()), home.models / "translator")
    import_pairs(home, "polite", phrases("请您 "))
    report, rows, evaluations = judged(
        home, model="translator", data="polite", max_seq_len=32, num_steps=30, learning_rate=2e-3
    )
    same(report, evaluations)
    written, wanted = [row.prediction for row in rows], [row.truth for row in rows]
    metrics = report.info.metrics
    assert metrics["bleu"] == pytest.approx(corpus_bleu(written, [wanted], tokenize="zh").score)
    assert {"copy", "untrained"} <= set(report.baselines)
    assert metrics["bleu"] > report.baselines["untrained"]["bleu"]
    assert "generated" in [note.code for note in report.notes]

    monkeypatch.setattr(SequenceToSequence, "generate", lambda _task, sources, **_: [""] * len(sources))
    silent = evaluate(home, EvaluateModel("translator", data="polite"), lambda *_: None, lambda: None)
    counts = [note.fields["count"] for note in silent.notes if note.code == "generated"]
    assert counts == [silent.info.num_rows], "a reply of nothing is a reply"
