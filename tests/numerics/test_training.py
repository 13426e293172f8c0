"""The loop against the plain formulas, on a small real Llama."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from engine import messages as m
from engine.batches import BatchPlan, validation_batches
from engine.checkpoint import (
    TrainingState,
    checkpoint_path,
    clear_staging,
    latest_sound_checkpoint,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
    set_aside_newer,
)
from engine.data.encode import load_tokenizer
from engine.errors import UserError
from engine.loop import Training
from engine.methods import method_named
from engine.models.opening import load_causal_lm, load_for_training
from engine.recipe import Recipe
from engine.tasks.causal_lm import CausalLanguageModel
from engine.tasks.task import PinnedPrompt


@dataclass
class Row:
    input_ids: list[int]
    labels: list[int]

    @property
    def num_targets(self) -> int:
        return sum(label != -100 for label in self.labels[1:])


class Recorder:
    """The loop's outside: keeps events, hands out commands planned by step."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.plan: dict[int, list[Any]] = {}

    def tell(self, event: Any, *, durable: bool = False) -> None:
        self.events.append(event)

    def commands(self) -> list[Any]:
        steps = [event.step for event in self.events if isinstance(event, m.StepFinished)]
        return self.plan.pop(steps[-1] if steps else 0, [])

    def measure(self, step: int) -> None:
        pass

    def losses(self) -> list[float | None]:
        return [event.train_loss for event in self.events if isinstance(event, m.StepFinished)]


def rows(count: int, seed: int = 0) -> list[Row]:
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        length = int(torch.randint(6, 30, (1,), generator=generator))
        ids = torch.randint(5, 200, (length,), generator=generator).tolist()
        made.append(Row(ids, [-100] * 3 + ids[3:]))
    return made


def training(tiny_model: Path, folder: Path, outside: Recorder, **changes: Any) -> Training:
    recipe = Recipe(**{"name": "t", "num_steps": 8, "micro_batch_size": 4, "learning_rate": 1e-3} | changes)
    recipe = recipe.resolved(num_rows=24, num_cores=2)
    torch.manual_seed(recipe.seed)
    dtype = torch.bfloat16 if recipe.dtype == "bfloat16" else torch.float32
    model = load_for_training(tiny_model, dtype=dtype, device="cpu")
    method = method_named(recipe.method)
    task = CausalLanguageModel(recipe.replace(task="causal-lm"), {})
    prepared, tokenizer = method.prepare(model, recipe, task), load_tokenizer(tiny_model)
    task.attach(prepared, tokenizer)
    return Training(
        recipe=recipe, folder=folder, task=task, model=prepared, tokenizer=tokenizer,
        method=method, device="cpu", train_rows=rows(22), train_row_numbers=range(22), val_rows=rows(4, seed=1),
        prompts=[PinnedPrompt("Hello")], outside=outside,
    )  # fmt: skip


def test_the_loss_is_that_of_transformers(tiny_model: Path) -> None:
    model = load_for_training(tiny_model, dtype=torch.float32, device="cpu")
    task = CausalLanguageModel(Recipe(), {})
    task.attach(model, load_tokenizer(tiny_model))
    made = rows(5)
    batch = task.collate(made, range(5), "cpu")
    ours = float(task.loss_sum(batch).detach()) / batch.num_targets

    plain = load_causal_lm(tiny_model, dtype=torch.float32, device="cpu")
    longest = max(len(row.input_ids) for row in made)
    ids = torch.tensor([row.input_ids + [0] * (longest - len(row.input_ids)) for row in made])
    labels = torch.tensor([row.labels + [-100] * (longest - len(row.labels)) for row in made])
    mask = torch.tensor([[1] * len(row.input_ids) + [0] * (longest - len(row.input_ids)) for row in made])
    theirs = float(plain(input_ids=ids, attention_mask=mask, labels=labels).loss)
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_accumulation_weighs_every_token_the_same(tiny_model: Path, tmp_path: Path) -> None:
    """Two micro batches of four are one batch of eight: the losses of the steps are equal."""
    whole, halves = Recorder(), Recorder()
    options = {"validation_fraction": 0.0, "group_by_length": "never", "dtype": "float32"}
    training(tiny_model, tmp_path / "a", whole, micro_batch_size=8, **options).run(None)
    training(tiny_model, tmp_path / "b", halves, gradient_accumulation_steps=2, **options).run(None)
    assert whole.losses() == pytest.approx(halves.losses(), abs=1e-5)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_resumed_run_equals_the_unbroken_one(
    tiny_model: Path, tmp_path: Path, method: str, dtype: str
) -> None:
    options = {
        "method": method,
        "dtype": dtype,
        "save_every_steps": 2,
        "dropout": 0.1 if method == "lora" else 0.0,
    }
    unbroken = Recorder()
    training(tiny_model, tmp_path / "whole", unbroken, **options).run(None)
    first = Recorder()
    first.plan = {5: [m.StopRun()]}
    training(tiny_model, tmp_path / "broken", first, **options).run(None)
    assert isinstance(first.events[-1], m.RunStopped)
    second = Recorder()
    training(tiny_model, tmp_path / "broken", second, **options).run(5)
    assert first.losses() + second.losses() == unbroken.losses()
    left, right = (sorted((tmp_path / name / "final").glob("*.safetensors")) for name in ("whole", "broken"))
    assert [path.read_bytes() for path in left] == [path.read_bytes() for path in right]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_loss_falls_and_the_result_opens_in_plain_libraries(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    outside = Recorder()
    done = training(
        tiny_model, tmp_path, outside, method=method, num_steps=30, dtype="float32", learning_rate=1e-2
    )
    done.run(None)
    evals = [event.val_loss for event in outside.events if isinstance(event, m.EvalFinished)]
    assert evals[-1] < evals[0]
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    source = tiny_model if method == "lora" else tmp_path / "final"
    plain = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    if method == "lora":
        plain = PeftModel.from_pretrained(plain, str(tmp_path / "final"))
    ids = torch.arange(5, 25)[None]
    done.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(ids).logits, done.model(ids).logits, atol=1e-4, rtol=1e-4)


def test_a_loss_that_is_not_finite_stops_before_the_update(tiny_model: Path, tmp_path: Path) -> None:
    outside = Recorder()
    run = training(tiny_model, tmp_path, outside, method="full", dtype="float32")
    real, calls = run.task.loss_sum, []

    def poisoned(batch: Any) -> Any:
        calls.append(batch)
        return real(batch) * (float("nan") if run.state.step == 2 and run.model.training else 1.0)

    run.task.loss_sum = poisoned  # type: ignore[method-assign]
    kept: dict[str, torch.Tensor] = {}
    real_tell = outside.tell

    def tell(event: Any, *, durable: bool = False) -> None:
        if isinstance(event, m.StepFinished) and event.step == 2:
            kept.update({name: value.clone() for name, value in run.model.state_dict().items()})
        real_tell(event)

    outside.tell = tell  # type: ignore[method-assign]
    with pytest.raises(
        UserError, match=r"at step 3.*those of step 2 are kept. The rows of step 3 are \d+"
    ) as caught:
        run.run(None)
    assert caught.value.code == "loss-not-finite"
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, kept[name])
    assert latest_sound_checkpoint(tmp_path) == (2, []), "the weights of the last good step are on the disk"


def test_sampling_and_looking_do_not_change_the_training(tiny_model: Path, tmp_path: Path) -> None:
    often, never = Recorder(), Recorder()
    shared = {"dropout": 0.2, "dtype": "float32"}
    training(tiny_model, tmp_path / "a", often, eval_every_steps=1, save_every_steps=1, **shared).run(None)
    training(tiny_model, tmp_path / "b", never, eval_every_steps=8, save_every_steps=8, **shared).run(None)
    assert often.losses() == never.losses()


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    for step in (1, 2):
        state = TrainingState(step, 1.0, None, None)
        save_checkpoint(
            tmp_path, state, {"x": torch.ones(3) * step}, lambda folder: (folder / "w").write_text("w")
        )
    assert latest_sound_checkpoint(tmp_path) == (2, [])
    damaged = checkpoint_path(tmp_path, 2) / "training_state.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    step, complaints = latest_sound_checkpoint(tmp_path)
    assert step == 1
    assert "Checkpoint 2 is damaged" in complaints[0]
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(tmp_path, 2)
    assert float(load_checkpoint(tmp_path, 1)[1]["x"][0]) == 1.0


@pytest.mark.parametrize(
    "content", [b"[]", b'{"state.json": {}}', b'{"state.json": 1}', b"\0\0", b'{"a": {"siz']
)
def test_a_damaged_manifest_is_passed_over(tmp_path: Path, content: bytes) -> None:
    for step in (1, 2):
        save_checkpoint(
            tmp_path, TrainingState(step, 1.0, None, None), {}, lambda folder: (folder / "w").write_text("w")
        )
    (checkpoint_path(tmp_path, 2) / "manifest.json").write_bytes(content)
    assert latest_sound_checkpoint(tmp_path)[0] == 1


def test_a_copy_that_a_person_left_beside_the_checkpoints_is_none(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, TrainingState(1, 1.0, None, None), {}, lambda folder: None)
    (tmp_path / "checkpoints" / "step-000001 copy").mkdir()
    assert list_checkpoints(tmp_path) == [1]


def test_damaged_checkpoints_do_not_push_out_sound_ones(tiny_model: Path, tmp_path: Path) -> None:
    """They are set aside at the resume, and their steps are saved again when they come."""
    training(tiny_model, tmp_path, Recorder(), save_every_steps=2, keep_checkpoints=9).run(None)
    for step in (6, 8):
        (checkpoint_path(tmp_path, step) / "state.json").write_text("{}")
    newest, _ = latest_sound_checkpoint(tmp_path)
    assert newest == 4
    assert set_aside_newer(tmp_path, newest) == [6, 8]
    stopped = Recorder()
    stopped.plan[5] = [m.StopRun()]
    training(tiny_model, tmp_path, stopped, save_every_steps=2, keep_checkpoints=1).run(4)
    assert latest_sound_checkpoint(tmp_path) == (5, [])
    training(tiny_model, tmp_path, Recorder(), save_every_steps=2, keep_checkpoints=1).run(5)
    assert latest_sound_checkpoint(tmp_path) == (8, [])


def test_a_damaged_checkpoint_of_a_step_is_saved_anew_when_the_step_comes_again(
    tiny_model: Path, tmp_path: Path
) -> None:
    training(tiny_model, tmp_path, Recorder(), save_every_steps=2, keep_checkpoints=9).run(None)
    (checkpoint_path(tmp_path, 8) / "state.json").write_text("{}")
    training(tiny_model, tmp_path, Recorder(), save_every_steps=2, keep_checkpoints=9).run(6)
    assert latest_sound_checkpoint(tmp_path) == (8, [])


def test_a_removal_that_was_cut_short_leaves_no_half_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, TrainingState(step, 1.0, None, None), {}, lambda folder: None)
    monkeypatch.setattr("engine.checkpoint.shutil.rmtree", lambda path: (path / "state.json").unlink())
    prune_checkpoints(tmp_path, keep=1, best_step=None)
    monkeypatch.undo()
    assert list_checkpoints(tmp_path) == [2]
    clear_staging(tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000002"]


@pytest.mark.parametrize("targets", [("q_proj", "nope"), ("proj",), ("",), ("norm",)])
def test_a_target_that_no_layer_has_is_refused(
    tiny_model: Path, tmp_path: Path, targets: tuple[str, ...]
) -> None:
    """Also where another one is found: it would be left out without a word."""
    with pytest.raises(UserError, match=r"is called (nope|proj||norm)\. Choose") as caught:
        training(tiny_model, tmp_path, Recorder(), target_modules=targets)
    assert caught.value.code == "target-modules-not-found"
    training(tiny_model, tmp_path, Recorder(), target_modules=("layers.0.self_attn.q_proj", "down_proj"))


def test_commands_that_come_together_are_all_obeyed(tiny_model: Path, tmp_path: Path) -> None:
    """A pause does not swallow the stop, or the resume, that came with it."""
    outside = Recorder()
    outside.plan[2] = [m.PauseRun(), m.ResumeRun()]
    outside.plan[4] = [m.PauseRun(), m.StopRun()]
    training(tiny_model, tmp_path, outside).run(None)
    kinds = [type(event) for event in outside.events]
    assert kinds.count(m.RunPaused) == 2
    assert kinds.count(m.RunResumed) == 1
    assert outside.events[-1] == m.RunStopped(4)


def test_a_checkpoint_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError):
        save_checkpoint(tmp_path, TrainingState(1, 0.0, None, None), {}, refuse)
    assert list_checkpoints(tmp_path) == []
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_disk_that_is_full_for_safetensors_is_a_disk_that_is_full(tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(OSError, match="No space left") as caught:
        save_checkpoint(tmp_path, TrainingState(1, 0.0, None, None), {}, refuse)
    assert caught.value.errno == errno.ENOSPC
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_plan_shows_every_row_once_an_epoch_and_depends_on_nothing_else() -> None:
    lengths = [len(row.input_ids) for row in rows(50)]
    options = {"micro_batch_size": 4, "gradient_accumulation_steps": 2, "seed": 3, "group_by_length": True}
    plan = BatchPlan(lengths, **options)  # type: ignore[arg-type]
    seen = [i for step in range(1, plan.steps_per_epoch + 1) for micro in plan.step(step) for i in micro]
    assert sorted(seen) == list(range(50))
    assert BatchPlan(lengths, **options).step(19) == plan.step(19)  # type: ignore[arg-type]
    assert sorted(i for batch in validation_batches(lengths, 8) for i in batch) == list(range(50))


def test_grouped_batches_waste_little() -> None:
    lengths = [len(row.input_ids) for row in rows(400)]

    def padded(grouped: bool) -> int:
        plan = BatchPlan(
            lengths, micro_batch_size=8, gradient_accumulation_steps=1, seed=1, group_by_length=grouped
        )
        steps = [plan.step(step)[0] for step in range(1, plan.steps_per_epoch + 1)]
        return sum(max(lengths[i] for i in batch) * len(batch) for batch in steps)

    assert padded(True) < sum(lengths) * 1.06 < padded(False)
