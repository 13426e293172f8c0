"""A row that trains: the product's worker and a peer's trainer on the same rows, with one judge for both results.

Owns what the training rows have in common: the files with the rows, a process for each part of a turn, the choice
among a peer's set-ups by a short trial, the claims of speed, loss and memory. What is learnt and by whom is a
`TrainingRow`, which `sft` and `classify` give.

Every part is a module that is run as `python -m MODULE HOME WORK OUT STEPS ROW VARIANT SEED`: it reads WORK/train.json
and writes OUT/result.json and the model into OUT/model; the judge reads WORK/held_out.json and writes OUT/judged.json.
Both sides of a turn have the same seed, and every turn has another: what is learnt in a few steps differs by more
between seeds than between sides.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare import Asked, Claim, Figures, Possible, Record, fastest, run_module, say, take_turns
from benchmarks.machine import machine_with_rates
from benchmarks.own_home import home_with
from engine.errors import UserError

FIRST_SEED = 42
LOSS_LIMIT = 0.01  # of the peer's, either way
MEMORY_LIMIT = 0.7  # of the peer's at its defaults


@dataclass(frozen=True)
class TrainingRow:
    """What is compared. `limit` is the least ratio of speed; of the peer's set-ups, `peers`, the fastest is taken.

    `make_rows(count)` gives so many rows in a fixed order and says where they come from; `work` tells, for the model's
    folder and the rows that are trained, how many operations a unit takes.
    """

    name: str
    starter: str
    unit: str
    limit: float
    peers: tuple[str, ...]
    library: str
    ours: str
    theirs: str
    judge: str
    make_rows: Callable[[int], tuple[list[dict[str, str]], str]]
    work: Callable[[Path, list[dict[str, str]]], float]
    num_held_out: int
    batch_size: int
    num_steps: int
    num_trial_steps: int
    num_epochs: int = 1
    has_memory_limit: bool = False

    @property
    def speed(self) -> str:
        return f"{self.unit}_per_second"

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (
            Claim(self.speed, self.limit),
            Claim("held_out_loss", LOSS_LIMIT, better="near"),
            Claim("peak_memory_bytes", MEMORY_LIMIT if self.has_memory_limit else None, better="lower"),
        )


def measure(row: TrainingRow, asked: Asked) -> dict[str, Any]:
    """Interleaved turns of both sides; `asked.num_steps` are those of one epoch.

    Raises:
        UserError: if the peer is not installed or has no such set-up, or the starter cannot be had.
        RuntimeError: if one side cannot do its turn.
    """
    _require(row.library)
    _require_peers(row, asked.peers)
    library = home_with(asked.home, (row.starter,))
    num_steps = asked.num_steps or row.num_steps
    rows, source = row.make_rows(row.num_held_out + num_steps * row.batch_size)
    held_out, train = rows[: row.num_held_out], rows[row.num_held_out :]
    num_steps = min(num_steps, len(train) // row.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(row, library, Path(folder), asked.num_threads)
        bench.write("turns", train[: num_steps * row.batch_size], held_out)
        bench.write("trials", train[: row.num_trial_steps * row.batch_size], held_out)
        possible = Possible(row.speed, row.work(library / "models" / row.starter, train), "bfloat16_flops")
        record = Record(asked, row.claims, machine_with_rates(asked.num_threads), possible)
        record.note(
            data=source, num_steps=num_steps * row.num_epochs, batch_size=row.batch_size,
            work_per_unit=possible.work, tried={},
        )  # fmt: skip
        peer, tried = fastest(asked.peers or row.peers, bench.trial, row.speed)
        record.note(tried=tried, peer_variant=peer)

        def turn(side: str, number: int) -> Figures:
            return bench.turn("ours" if side == "ours" else peer, number, num_steps * row.num_epochs)

        take_turns(record, asked.num_runs, turn)
    return record.finish()


def asked_of_part(words: list[str]) -> tuple[Path, Path, Path, int, str, str, int]:
    """The arguments of a part that trains: HOME WORK OUT STEPS ROW VARIANT SEED."""
    home, work, out, num_steps, row, variant, seed = words
    return Path(home), Path(work), Path(out), int(num_steps), row, variant, int(seed)


class Bench:
    """Runs one side in a process of its own, and has its result judged in another."""

    def __init__(self, row: TrainingRow, library: Path, work: Path, num_threads: int) -> None:
        self._row, self._library, self._work, self._num_threads = row, library, work, num_threads

    def write(self, name: str, train: list[dict[str, str]], held_out: list[dict[str, str]]) -> None:
        """The rows of every turn, or of every trial: each run of either sees each row once an epoch."""
        folder = self._work / name
        folder.mkdir()
        (folder / "train.json").write_text(json.dumps(train), encoding="utf-8")
        (folder / "held_out.json").write_text(json.dumps(held_out), encoding="utf-8")

    def trial(self, variant: str) -> Figures:
        """A few steps, not judged."""
        figures, out = self._train(
            variant, self._work / "trials", f"trial-{variant}", self._row.num_trial_steps, FIRST_SEED
        )
        shutil.rmtree(out)
        return figures

    def turn(self, variant: str, number: int, num_steps: int) -> Figures:
        figures, out = self._train(
            variant, self._work / "turns", f"{variant}-{number}", num_steps, FIRST_SEED + number
        )
        self._call(self._row.judge, self._work / "turns", out)
        figures |= _read(out / "judged.json")
        shutil.rmtree(out)  # checkpoints of all turns together would fill a disk
        return figures

    def _train(self, variant: str, work: Path, name: str, num_steps: int, seed: int) -> tuple[Figures, Path]:
        out = self._work / name
        out.mkdir()
        module = self._row.ours if variant == "ours" else self._row.theirs
        self._call(module, work, out, num_steps, self._row.name, variant, seed)
        return _read(out / "result.json"), out

    def _call(self, module: str, work: Path, out: Path, *arguments: object) -> None:
        run_module(module, self._library, work, out, *arguments, folder=out, num_threads=self._num_threads)


def _read(path: Path) -> Figures:
    found: Figures = json.loads(path.read_text(encoding="utf-8"))
    return found


def _require(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        raise UserError(
            "peer-missing",
            "This row is measured against {library}, which is not installed here. "
            'Install it with: pip install -e ".[benchmarks]"',
            library=library,
        )
    say(f"the peer is {library}")


def _require_peers(row: TrainingRow, chosen: tuple[str, ...]) -> None:
    for name in chosen:
        if name not in row.peers:
            raise UserError(
                "peer-unknown", "{row} knows no set-up {name!r} of the peer. It knows {known}.",
                row=row.name, name=name, known=", ".join(row.peers),
            )  # fmt: skip
