"""What frozen layers say of a row never changes: it is computed once, kept on disk, and trained from there.

Owns which layers of a model are such a trunk, the file of their hidden states, and standing in for them. Where the
states would differ from step to step (noise, adversaries, rows drawn anew), or would not fit the disk, there is no
trunk and everything is computed as ever. Knows nothing of losses: a task calls its model as before.

The trunk is passed through in eval mode, also where the base model came with dropout: nothing in it learns, so there
is nothing that its dropout would keep from being memorised. The layers above keep theirs.

Shapes: B batch, T time, D width, N tokens of all rows.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engine.checkpoint import sha256
from engine.kernels.row_layout import LAYOUT, RowLayout, pack, unpack
from engine.methods.architecture import blocks, top_modules

if TYPE_CHECKING:
    from engine.recipe import Recipe
    from engine.tasks.task import Task

FOLDER_NAME = "frozen"
METHODS = ("head-only", "last-layers")
# Tasks whose model sees exactly the rows that it is given, one row of the batch each, by one stack of layers.
TASKS = ("text-classification", "token-classification", "question-answering", "causal-lm")
TOKENS_PER_PASS = 1024  # twice as many are no faster and take 10 MB more of MiniLM
WORTHWHILE_EPOCHS = 1.5  # a row that is seen once is as well computed on the way
SPARE_BYTES = 1_000_000_000  # that must be left on the disk, for checkpoints
AGREEMENT = 1e-2


class _Enough(Exception):
    """The trunk has been passed through."""


@dataclass(frozen=True)
class StatesFile:
    """States one behind the other, (N, D), in a file that is read a row at a time: mapped into memory, all that was
    ever read would count as this process's own."""

    path: Path
    width: int
    dtype: torch.dtype

    def __getitem__(self, tokens: slice) -> Tensor:
        with self.path.open("rb", buffering=0) as file:
            file.seek(tokens.start * self.width * self.dtype.itemsize)
            data = bytearray((tokens.stop - tokens.start) * self.width * self.dtype.itemsize)
            if file.readinto(data) != len(data):
                raise OSError(errno.EIO, "The file of kept states has become shorter", str(self.path))
        return torch.frombuffer(data, dtype=self.dtype).view(-1, self.width)


@dataclass(frozen=True)
class KeptStates:
    """The hidden states of rows one behind the other, (N, D); row i begins at `starts[i]`."""

    states_ND: Tensor | StatesFile
    starts: Sequence[int]
    lengths: Sequence[int]

    def fill(self, out_BTD: Tensor, positions: Sequence[int]) -> Tensor:
        """The states of these rows; what lies behind a row's end stays as it is."""
        for states_TD, i in zip(out_BTD, positions, strict=True):
            start, length = self.starts[i], self.lengths[i]
            states_TD[:length] = self.states_ND[start : start + length]
        return out_BTD


class FrozenTrunk:
    """The frozen blocks at the bottom of one model, and what they said of the rows that were kept."""

    def __init__(self, task: Task, model: nn.Module, frozen: Sequence[nn.Module], device: str) -> None:
        self._task, self._model, self._frozen, self._device = task, model, list(frozen), device
        self._kept: dict[int, tuple[Sequence[Any], KeptStates]] = {}
        self._token_bytes = 0  # of the states of one token; known once `agrees` was asked

    def keep(self, rows: Sequence[Any], file: Path, on_batch: Callable[[int, int], None]) -> bool:
        """Take in the states of all rows: from `file`, if it holds those of these rows and weights, else computed
        into it. False, and nothing is kept, where the disk is too small.

        Raises:
            OSError: if the disk refuses.
        """
        lengths = [len(row.input_ids) for row in rows]
        batches = _tight_batches(lengths)
        key = self._key(rows, batches)
        if not _is_sound(file, key):
            if shutil.disk_usage(file.parent).free < sum(lengths) * self._token_bytes + SPARE_BYTES:
                return False
            self._write(rows, batches, file, key, on_batch)
        width, dtype = _facts(file)
        starts, start = [0] * len(lengths), 0
        for positions in batches:
            for i in positions:
                starts[i] = start
                start += lengths[i]
        # The rows themselves are held, so that their id stays theirs.
        self._kept[id(rows)] = (rows, KeptStates(StatesFile(file, width, dtype), starts, lengths))
        return True

    @contextmanager
    def standing_in(self, rows: Sequence[Any], positions: Sequence[int]) -> Iterator[None]:
        """Inside, a call of the model with the batch of these rows begins above the trunk, if their states are kept."""
        if id(rows) not in self._kept:
            yield
            return
        with self._replayed(self._kept[id(rows)][1], positions):
            yield

    def agrees(self, rows: Sequence[Any]) -> bool:
        """Whether the loss of some rows is the same with the trunk and without: surer than a list of models."""
        lengths = [len(row.input_ids) for row in rows]
        by_length = sorted(range(len(rows)), key=lambda i: lengths[i])
        positions = (by_length[0], by_length[-1])  # one of them is padded
        with _asked(self._model):
            batch = self._task.collate(rows, positions, self._device)
            with self._recorded(ends_there=False) as found:
                expected = float(self._task.loss_sum(batch))
            # Blocks that share weights are called several times; some give more than the states.
            if len(found) != 1 or not isinstance(found[0], Tensor) or found[0].ndim != 3:
                return False
            states_ND = torch.cat([found[0][k, : lengths[i]] for k, i in enumerate(positions)])
            self._token_bytes = states_ND.shape[1] * states_ND.element_size()
            starts = dict(zip(positions, (0, lengths[positions[0]]), strict=True))
            kept = KeptStates(states_ND, starts, lengths)  # type: ignore[arg-type]
            with self._replayed(kept, positions):
                again = float(self._task.loss_sum(batch))
        return abs(again - expected) <= AGREEMENT * max(1.0, abs(expected))

    # ---------------------------------------------------------------------------------------- the model

    @contextmanager
    def _replayed(self, kept: KeptStates, positions: Sequence[int]) -> Iterator[None]:
        top = self._frozen[-1]

        def say(_block: Any, hidden_BTD: Tensor, *_arguments: Any, **options: Any) -> Any:
            layout: RowLayout | None = options.get(LAYOUT)
            if layout is None:
                return kept.fill(torch.zeros_like(hidden_BTD), positions)
            table_BTD = hidden_BTD.new_zeros(len(positions), layout.time, hidden_BTD.shape[2])
            return pack(kept.fill(table_BTD, positions), layout)

        def pass_on(_block: Any, hidden_BTD: Tensor, *_arguments: Any, **_options: Any) -> Any:
            return hidden_BTD

        with ExitStack() as undo:
            for block in self._frozen:
                undo.enter_context(_forward_as(block, say if block is top else pass_on))
            yield

    @contextmanager
    def _recorded(self, *, ends_there: bool) -> Iterator[list[Any]]:
        """What the highest frozen block says while it lasts, each time that it is called.

        With `ends_there` the call of the model ends there as well, as _Enough: nothing above is computed.
        """
        found: list[Any] = []

        def note(_block: Any, _inputs: Any, options: dict[str, Any], output: Any) -> None:
            layout: RowLayout | None = options.get(LAYOUT)
            if layout is not None and isinstance(output, Tensor) and output.shape[:2] == (1, layout.size):
                output = unpack(output, layout)
            found.append(output)
            if ends_there:
                raise _Enough

        handle = self._frozen[-1].register_forward_hook(note, with_kwargs=True)
        try:
            yield found
        finally:
            handle.remove()

    def _states(self, rows: Sequence[Any], positions: Sequence[int]) -> Tensor:
        """The trunk's states of some rows one behind the other, (N, D)."""
        batch = self._task.collate(rows, positions, self._device)
        with _asked(self._model), self._recorded(ends_there=True) as found, suppress(_Enough):
            self._task.loss_sum(batch)
        lengths = [len(rows[i].input_ids) for i in positions]
        return torch.cat([found[0][k, :length] for k, length in enumerate(lengths)])

    # ----------------------------------------------------------------------------------------- the file

    def _write(
        self,
        rows: Sequence[Any],
        batches: Sequence[Sequence[int]],
        file: Path,
        key: str,
        on_batch: Callable[[int, int], None],
    ) -> None:
        part, digest = file.with_suffix(".part"), hashlib.sha256()
        with part.open("wb") as out:
            for done, positions in enumerate(batches):
                on_batch(done, len(batches))
                states_ND = self._states(rows, positions).cpu().contiguous()
                data = states_ND.view(torch.uint8).numpy().data
                digest.update(data)
                out.write(data)
        width, dtype = states_ND.shape[1], str(states_ND.dtype).removeprefix("torch.")
        note = {"key": key, "sha256": digest.hexdigest(), "width": width, "dtype": dtype}
        # Nothing is synced: what a power cut leaves is not what its hash says, and is computed again.
        part.replace(file)
        _note_of(file).write_text(json.dumps(note), encoding="utf-8")

    def _key(self, rows: Sequence[Any], batches: Sequence[Sequence[int]]) -> str:
        """Of everything that decides the states: the frozen weights, the rows as the model is given them, the code."""
        digest = hashlib.sha256()
        settings = [self._device, torch.get_num_threads(), version("torch"), version("transformers")]
        digest.update(json.dumps([len(self._frozen), *settings]).encode())
        digest.update(self._model.config.to_json_string().encode())  # type: ignore[union-attr, operator]
        for name, weight in [*self._model.named_parameters(), *self._model.named_buffers()]:
            if not weight.requires_grad:
                digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
                digest.update(_bytes_of(weight))
        for positions in batches:
            for name, tensor in self._task.collate(rows, positions, "cpu").inputs.items():
                digest.update(name.encode())
                digest.update(_bytes_of(tensor))
        return digest.hexdigest()


def trunk_of(
    task: Task,
    model: Any,
    recipe: Recipe,
    *,
    device: str,
    rows: Sequence[Any],
    has_teacher: bool,
    epochs: float,
) -> FrozenTrunk | None:
    """The trunk of a prepared and attached model, if keeping its states gives the same run, and faster."""
    if recipe.method not in METHODS or task.id not in TASKS or epochs < WORTHWHILE_EPOCHS:
        return None
    is_noisy = recipe.neftune_alpha or recipe.model_dropout or recipe.adversarial != "none"
    if is_noisy or has_teacher:  # a teacher may look at the states of every layer
        return None
    frozen = _frozen_blocks(model, task.head_names)
    if not frozen:
        return None
    trunk = FrozenTrunk(task, model, frozen, device)
    return trunk if trunk.agrees(rows) else None


def _frozen_blocks(model: Any, head_names: Sequence[str]) -> list[nn.Module]:
    """The blocks below everything that is trained; none if something outside of blocks and top is trained, too."""
    layers = [block for _, block in blocks(model)]
    trained = {id(each) for each in model.parameters() if each.requires_grad}
    first = next(
        (i for i, block in enumerate(layers) if any(id(each) in trained for each in block.parameters())),
        len(layers),
    )
    above = {
        id(each) for part in [*layers[first:], *top_modules(model, head_names)] for each in part.parameters()
    }
    return layers[:first] if trained <= above else []


def _tight_batches(lengths: Sequence[int]) -> list[tuple[int, ...]]:
    """Every row once, the longest first, about TOKENS_PER_PASS tokens at a time."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    found: list[tuple[int, ...]] = []
    while order:
        size = max(1, TOKENS_PER_PASS // max(1, lengths[order[0]]))
        found.append(tuple(order[:size]))
        order = order[size:]
    return found


@contextmanager
def _forward_as(block: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    before = block.__dict__.get("forward")
    block.forward = types.MethodType(forward, block)
    try:
        yield
    finally:
        if before is None:
            del block.forward
        else:
            block.forward = before


@contextmanager
def _asked(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _bytes_of(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _note_of(file: Path) -> Path:
    return file.with_suffix(".json")


def _facts(file: Path) -> tuple[int, torch.dtype]:
    note = json.loads(_note_of(file).read_text(encoding="utf-8"))
    return int(note["width"]), getattr(torch, note["dtype"])


def _is_sound(file: Path, key: str) -> bool:
    """Whether the file holds these states, every bit of them; a torn or changed one is computed again."""
    try:
        note = json.loads(_note_of(file).read_text(encoding="utf-8"))
        return bool(note["key"] == key and note["sha256"] == sha256(file))
    except (OSError, ValueError, KeyError, TypeError):
        return False
