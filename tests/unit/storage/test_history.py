"""What the history answers after a run's events, and that it can be thrown away."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from storage.errors import HistoryError
from storage.history import History

from .conftest import FakeRun, everything


def full_run(run: FakeRun) -> FakeRun:
    run.created().started().evaluated(0, 4.0).sampled(0, "before")
    run.add(
        "DataPrepared", num_train_rows=9, num_val_rows=1, num_tokens=100, trained_token_share=0.4,
        num_truncated_rows=0, num_skipped_rows=0, num_steps=40, num_trainable_parameters=5, num_parameters=50,
    )  # fmt: skip
    for step in range(1, 41):
        run.step(step)
    run.evaluated(20, 1.5).saved(20, is_best=True).evaluated(40, 2.0).saved(40).sampled(40, "after")
    return run.finished()


def test_a_finished_run_stands_with_all_its_numbers(home: Path, run: FakeRun) -> None:
    full_run(run)
    history = History.open(home)
    record = history.run(run.id)
    assert (record.status, record.steps, record.num_steps) == ("finished", 40, 40)
    assert (record.first_val_loss, record.best_val_loss, record.duration_s) == (4.0, 1.5, 81.0)
    assert record.last_train_loss == pytest.approx(1.0)
    assert (record.name, record.model, record.data, record.task, record.method) == (
        "first",
        "m",
        "d",
        "causal-lm",
        "lora",
    )
    assert record.model_title == "Model M"
    assert record.created_utc == "2026-01-01T12:00:00.000Z"
    detail = history.detail(run.id)
    assert [(saved.step, saved.is_best) for saved in detail.checkpoints] == [(20, True), (40, False)]
    assert [(sample.step, sample.text) for sample in detail.samples] == [(0, "before"), (40, "after")]
    assert detail.environment == {"torch": "2"}
    assert detail.prepared["trained_token_share"] == 0.4
    assert detail.result_path == "final"
    assert history.series(run.id, "val_loss") == ([0, 20, 40], [4.0, 1.5, 2.0])
    assert "grad_norm" not in history.metric_names(run.id), "a value that is null is no value"


def test_sync_twice_changes_nothing(home: Path, run: FakeRun) -> None:
    full_run(run)
    history = History.open(home)
    before = everything(history)
    assert history.sync() == []
    assert everything(history) == before


def test_sync_names_what_changed(home: Path, run: FakeRun) -> None:
    run.created()
    history = History.open(home)
    run.started().step(1)
    assert history.sync() == [run.id]
    assert history.run(run.id).steps == 1


def test_repeated_steps_stand_once_as_they_were_last(home: Path, run: FakeRun) -> None:
    run.created().started()
    for step in range(1, 38):
        run.step(step, loss=1.0)
    history = History.open(home)
    run.started(30)
    for step in range(31, 41):
        run.step(step, loss=2.0)
    history.sync()
    steps, losses = history.series(run.id, "train_loss")
    assert steps == list(range(1, 41))
    assert losses == [1.0] * 30 + [2.0] * 10


def test_a_torn_last_line_waits_until_it_is_whole(home: Path, run: FakeRun) -> None:
    run.created().started().step(1)
    line = run.line("StepFinished", step=2, train_loss=3.0, learning_rate=1.0, grad_norm=1.0, num_tokens=1,
                    num_trained_tokens=1, tokens_per_second=1.0, epoch=0.1, elapsed_s=1.0)  # fmt: skip
    with run.journal.open("ab") as file:
        file.write(line[:40])
    history = History.open(home)
    assert history.run(run.id).steps == 1
    with run.journal.open("ab") as file:
        file.write(line[40:])
    history.sync()
    assert history.run(run.id).steps == 2
    assert history.series(run.id, "train_loss")[0] == [1, 2]


def test_a_torn_line_that_was_cut_off_leaves_no_trace(home: Path, run: FakeRun) -> None:
    run.created().started().step(1)
    whole = run.journal.stat().st_size
    with run.journal.open("ab") as file:
        file.write(b'{"v": 1, "run_id"')
    history = History.open(home)
    os.truncate(run.journal, whole)
    run.step(2)
    history.sync()
    assert history.series(run.id, "train_loss")[0] == [1, 2]


def test_broken_and_foreign_lines_are_passed_over(home: Path, run: FakeRun) -> None:
    run.created().started()
    with run.journal.open("ab") as file:
        file.write(b"not json\n[1, 2]\n{}\n\xff\xfe\n")
    run.add("FromTheFuture", step=9).add("StepFinished", step="none").add("RunFinished").step(1)
    history = History.open(home)
    assert history.run(run.id).status == "interrupted"
    assert history.series(run.id, "train_loss")[0] == [1]


def test_a_replaced_journal_is_read_from_its_start(home: Path, run: FakeRun) -> None:
    run.created(name="old").started()
    for step in range(1, 30):
        run.step(step)
    history = History.open(home)
    run.journal.unlink()
    run.created(name="new").started().step(1).evaluated(1, 2.0)
    for step in range(2, 60):  # longer than the old one: only its content tells them apart
        run.step(step, loss=7.0)
    history.sync()
    assert history.run(run.id).name == "new"
    assert set(history.series(run.id, "train_loss")[1][1:]) == {7.0}


def test_a_journal_that_shrank_is_read_from_its_start(home: Path, run: FakeRun) -> None:
    full_run(run)
    history = History.open(home)
    content = run.journal.read_bytes().splitlines(keepends=True)
    run.journal.write_bytes(b"".join(content[:6]))
    history.sync()
    assert history.run(run.id).steps == 1
    assert history.series(run.id, "train_loss")[0] == [1]
    assert history.detail(run.id).checkpoints == ()


def test_a_folder_that_went_takes_its_run_along(home: Path, run: FakeRun) -> None:
    full_run(run)
    history = History.open(home)
    run.journal.unlink()
    run.folder.rmdir()
    assert history.sync() == [run.id]
    assert history.runs() == []
    with pytest.raises(HistoryError, match="no run"):
        history.metrics(run.id)


def test_deleting_the_file_loses_nothing(home: Path, run: FakeRun) -> None:
    full_run(run)
    other = FakeRun(home, "20260102-120000-ffff").created(name="other").started().step(1)
    history = History.open(home)
    history.rename(run.id, "  Named by me ")
    history.set_note(run.id, "a note\nof two lines 中文")
    history.set_tags(run.id, ["b", "a", "b", " "])
    history.trash(other.id)
    before = everything(history)
    history.close()
    for path in home.glob("history.sqlite*"):
        path.unlink()
    again = History.open(home)
    assert everything(again) == before
    assert again.run(run.id).name == "Named by me"
    assert again.run(run.id).tags == ("b", "a")
    assert [record.id for record in again.runs()] == [run.id]


def test_the_file_may_vanish_while_it_is_open(home: Path, run: FakeRun) -> None:
    full_run(run)
    history = History.open(home)
    for path in home.glob("history.sqlite*"):
        path.unlink()
    assert history.run(run.id).status == "finished"
    assert history.integrity() == "ok"


def test_an_empty_name_gives_the_first_one_back(home: Path, run: FakeRun) -> None:
    run.created()
    history = History.open(home)
    assert history.rename(run.id, "x").name == "x"
    assert history.rename(run.id, "  ").name == "first"


def test_newest_runs_come_first(home: Path) -> None:
    for day, seq in ((1, 0), (2, 30), (3, 15)):
        run = FakeRun(home, f"2026010{day}-000000-aaaa")
        run.seq = seq
        run.created()
    assert [record.id[:8] for record in History.open(home).runs()] == ["20260102", "20260103", "20260101"]


@pytest.mark.parametrize(
    ("events", "liveness", "status"),
    [
        ([], "not-started", "queued"),
        ([], "alive", "running"),
        ([], "dead", "interrupted"),
        (["RunStarted"], "alive", "running"),
        (["RunStarted"], "dead", "interrupted"),
        (["RunStarted"], "not-started", "interrupted"),
        (["RunStarted", "RunPaused"], "alive", "paused"),
        (["RunStarted", "RunPaused"], "dead", "interrupted"),
        (["RunStarted", "RunPaused", "RunResumed"], "alive", "running"),
        (["RunStarted", "RunStopped"], "dead", "stopped"),
        (["RunStarted", "RunStopped", "RunStarted"], "alive", "running"),
        (["RunStarted", "RunFailed"], "dead", "failed"),
        (["RunStarted", "RunFinished"], "dead", "finished"),
    ],
)
def test_status(home: Path, run: FakeRun, events: list[str], liveness: str, status: str) -> None:
    fields = {
        "RunStarted": {"pid": 1, "resumed_from_step": 0, "environment": {}},
        "RunFinished": {"path": "final", "best_val_loss": None, "duration_s": 1.0},
        "RunFailed": {"code": "oom", "message": "Out of memory."},
    }
    run.created()
    for name in events:
        run.add(name, **({"step": 3} | fields.get(name, {})))
    record = History.open(home, liveness=lambda folder: liveness).run(run.id)
    assert record.status == status
    assert record.error == ("Out of memory." if status == "failed" else None)


def test_a_failure_keeps_its_code_and_fields(home: Path, run: FakeRun) -> None:
    run.created().started().add(
        "RunFailed", step=7, code="loss-not-finite", message="Loss became NaN at step 7.",
        template="Loss became NaN at step {step}.", fields={"step": 7}, detail="rows 1, 2",
    )  # fmt: skip
    failure = History.open(home).detail(run.id).failure
    assert failure == {
        "step": 7, "code": "loss-not-finite", "message": "Loss became NaN at step 7.",
        "template": "Loss became NaN at step {step}.", "fields": {"step": 7}, "detail": "rows 1, 2",
    }  # fmt: skip


def test_a_newer_best_checkpoint_takes_the_mark_and_pruned_ones_go(home: Path, run: FakeRun) -> None:
    run.created().started().saved(10, is_best=True).saved(20, is_best=True).saved(30)
    run.add("CheckpointRemoved", step=10, path="checkpoints/step-10")
    found = History.open(home).detail(run.id).checkpoints
    assert [(saved.step, saved.is_best) for saved in found] == [(20, True), (30, False)]


def test_liveness_is_read_from_worker_json(home: Path, run: FakeRun) -> None:
    run.created().started()
    me = psutil.Process()
    worker = run.folder / "worker.json"
    worker.write_text(json.dumps({"pid": me.pid, "started": me.create_time()}))
    history = History.open(home)
    assert history.run(run.id).status == "running"
    worker.write_text(json.dumps({"pid": me.pid, "started": me.create_time() - 100}))
    assert history.run(run.id).status == "interrupted", "the same number, but another process"
    worker.write_text("{")
    assert history.run(run.id).status == "interrupted"


@pytest.mark.parametrize("end", ["RunStopped", "RunFailed", "RunPaused"])
def test_a_run_that_is_begun_anew_is_running_before_it_says_so(home: Path, run: FakeRun, end: str) -> None:
    """Its worker needs seconds before its first line; at its end a worker lives on for a moment."""
    run.created().started().add(end, step=1, code="x", message="X.")
    worker = run.folder / "worker.json"
    worker.write_text("{}")
    ended = run.journal.stat().st_mtime_ns
    history = History.open(home, liveness=lambda folder: "alive")
    os.utime(worker, ns=(ended - 1, ended - 1))
    assert history.run(run.id).status == end.removeprefix("Run").lower()
    os.utime(worker, ns=(ended + 1, ended + 1))
    assert history.run(run.id).status == "running"
    history = History.open(home, liveness=lambda folder: "dead")
    assert history.run(run.id).status != "running"


def test_trash_and_back(home: Path, run: FakeRun) -> None:
    full_run(run)
    history = History.open(home)
    before = everything(history)
    history.trash(run.id)
    assert history.runs() == []
    assert [record.id for record in history.trashed()] == [run.id]
    assert not run.folder.exists()
    assert history.sync() == []
    history.restore(run.id)
    assert everything(history) == before
    assert run.folder.exists()


def test_a_run_at_work_is_not_trashed(home: Path, run: FakeRun) -> None:
    run.created().started()
    history = History.open(home, liveness=lambda folder: "alive")
    for act in (history.trash, history.delete_forever):
        with pytest.raises(HistoryError) as caught:
            act(run.id)
        assert caught.value.code == "run-at-work"
    assert run.folder.exists()


def test_a_run_that_starts_while_it_is_trashed_comes_back(home: Path, run: FakeRun) -> None:
    run.created()
    looks: list[Path] = []

    def alive_from_the_second_look(folder: Path) -> str:
        looks.append(folder)
        return "alive" if len(looks) > 1 else "dead"

    history = History.open(home, liveness=alive_from_the_second_look)
    with pytest.raises(HistoryError, match="at work"):
        history.trash(run.id)
    assert looks == [run.folder, home / "trash" / f"run-{run.id}", run.folder]
    assert run.folder.exists()
    assert [record.id for record in history.runs()] == [run.id]


def test_delete_forever(home: Path, run: FakeRun) -> None:
    full_run(run)
    history = History.open(home)
    history.trash(run.id)
    history.delete_forever(run.id)
    assert history.runs(include_trashed=True) == []
    assert list((home / "trash").iterdir()) == []
    assert history.sync() == []
    with pytest.raises(HistoryError):
        history.delete_forever(run.id)


@pytest.mark.parametrize("wrong", ["", ".", "..", "../runs/x", "no-such"])
def test_an_id_is_no_path(home: Path, run: FakeRun, wrong: str) -> None:
    run.created()
    history = History.open(home)
    for act in (history.run, history.trash, history.delete_forever, history.entries):
        with pytest.raises(HistoryError) as caught:
            act(wrong)
        assert caught.value.code == "run-not-found"


def test_entries_for_a_log(home: Path, run: FakeRun) -> None:
    run.created().started().step(1).saved(1)
    history = History.open(home)
    assert [entry["seq"] for entry in history.entries(run.id)] == [0, 1, 2, 3]
    assert [entry["step"] for entry in history.entries(run.id, {"CheckpointSaved"})] == [1]


def test_a_run_folder_without_a_whole_line_is_not_there_yet(home: Path, run: FakeRun) -> None:
    run.journal.write_bytes(b'{"v": 1')
    history = History.open(home)
    assert history.runs() == []
    run.journal.unlink()
    run.created()
    assert history.sync() == [run.id]


def test_answers_are_never_behind_the_journal(home: Path, run: FakeRun) -> None:
    run.created().started()
    history = History.open(home)
    run.step(1)
    assert history.run(run.id).steps == 1
    run.step(2)
    assert history.series(run.id, "train_loss")[0] == [1, 2]
    run.saved(2)
    assert len(history.detail(run.id).checkpoints) == 1
    other = FakeRun(home, "20260202-000000-beef").created(name="other")
    assert history.run(other.id).name == "other"
    run.step(3)
    assert {record.steps for record in history.runs()} == {0, 3}


def test_one_thread_may_open_it_and_another_use_it(home: Path, run: FakeRun) -> None:
    full_run(run)
    history = History.open(home)
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(lambda: history.rename(run.id, "elsewhere").name).result() == "elsewhere"
    assert history.run(run.id).name == "elsewhere"


def test_runs_come_with_the_range_of_their_tasks_figure_where_one_is_asked_for(home: Path) -> None:
    for number, (task, name) in enumerate((("text-classification", "accuracy"), ("causal-lm", "accuracy"))):
        run = FakeRun(home, f"20260101-12000{number}-abcd").created(task, task=task).started()
        for step, value in ((0, 0.1), (10, 0.7), (20, 0.6)):
            run.add("EvalFinished", step=step, val_loss=1.0, perplexity=None, num_tokens=1, seconds=1.0,
                    metrics={name: value, "f1_macro": 0.01})  # fmt: skip
    FakeRun(home, "20260101-120002-abcd").created("new", task="text-classification")
    with History.open(home, liveness=lambda _folder: "dead") as history:
        found = {
            run.name: run.figure_range for run in history.runs(figures={"text-classification": "accuracy"})
        }
        assert found == {"text-classification": (0.1, 0.7), "causal-lm": None, "new": None}
        assert {run.figure_range for run in history.runs()} == {None}
