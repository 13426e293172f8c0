"""`python -m benchmarks.gpu --json FILE`: training and generation on one GPU, in under eight minutes, from nothing but
the code.

Models have random weights and the shape of SmolLM2-135M and of a Llama with a billion parameters; rows are random
tokens of mixed length, the last half of each trained. The sides (`benchmarks.gpu_side`) are processes that take turns:
ours, TRL's ways as plain loops over the same rows, and Liger and Unsloth where they are installed. A side that fails
or hangs is named, and the others go on; the file is written after every turn. All parts have their first turn before
any has its second, so that a budget that does not suffice costs turns and no part. `--device cpu --shapes tiny` is the
stand-in that the tests run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import queue
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks import table
from benchmarks.command import (
    INTERRUPTED,
    at_least,
    check_target,
    end_with_children,
    more_than_nothing,
    own_temporary_files,
)
from benchmarks.compare import PROGRAM, Asked, Claim, Record, say
from benchmarks.gpu_shapes import PEERS, RANK, SHAPES
from benchmarks.machine import machine
from benchmarks.work import Shape
from engine.errors import UserError

BUDGET_S = 460.0
TURNS = 3
ANSWER_S = 120.0  # of one request; a hung kernel must not take the whole budget
LIMITS = {"defaults": 2.0, "expert": 1.2, "liger": 1.2, "unsloth": 1.2}
MEMORY_LIMIT = 0.8
SHARE_LIMIT = 0.45  # of the measured matrix rate, from a billion parameters on
GENERATION_LIMIT = 3.0
BATCH_ROWS = 16
# A peer that hangs, dies or cannot be loaded would do so in every part, and take the others' time.
HOPELESS = ("no answer", "the process", "ImportError", "ModuleNotFoundError")


@dataclass(frozen=True)
class Settings:
    device: str = "cuda"
    shapes: tuple[str, ...] = ("135m", "1b")
    longest: int = 1024
    batch_rows: int = BATCH_ROWS
    turns: int = TURNS
    budget_s: float = BUDGET_S
    peers: tuple[str, ...] = ("defaults", "expert")


class Asker(Protocol):
    """A side that answers requests; {"failed": why} where it cannot."""

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]: ...
    def end(self) -> None: ...


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="written after every turn")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--shapes", nargs="+", default=["135m", "1b"], choices=tuple(SHAPES))
    parser.add_argument("--longest", type=at_least(16), default=1024, help="tokens of the longest row")
    parser.add_argument("--batch", type=at_least(1), default=BATCH_ROWS, help="rows of a step")
    parser.add_argument("--turns", type=at_least(1), default=TURNS)
    parser.add_argument("--budget", type=more_than_nothing, default=BUDGET_S, help="seconds in all")
    options = parser.parse_args()
    asked = Asked(
        "gpu", command=f"python -m benchmarks.gpu {shlex.join(sys.argv[1:])}".strip(), path=options.json,
        num_runs=options.turns,
    )  # fmt: skip
    settings = Settings(
        options.device, tuple(options.shapes), options.longest, options.batch, options.turns, options.budget,
        installed_peers(),
    )  # fmt: skip
    try:
        check_target(options.json)
        require_device(options.device)
        with own_temporary_files():
            found = measure(asked, settings)
    except UserError as refusal:
        print(refusal, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f"Interrupted. The turns until then, if there were any, stand in {options.json}.", file=sys.stderr
        )
        return INTERRUPTED
    print("\n".join(table.lines_of(found)))
    for failure in found["failures"]:
        print(failure["reason"], file=sys.stderr)
    return 0 if found["complete"] else 1


def require_device(device: str) -> None:
    """Raises UserError "no-gpu" where torch sees none."""
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UserError(
                "no-gpu",
                "torch {version} sees no GPU here, so nothing was measured. Run this on a machine with one and a torch "
                "built for it; --device cpu --shapes tiny --longest 32 goes the same way without.",
                version=torch.__version__,
            )


def installed_peers() -> tuple[str, ...]:
    """The sides that can be had here; plain loops always."""
    packages = {"liger": "liger_kernel", "unsloth": "unsloth"}
    return tuple(
        peer for peer in PEERS if peer not in packages or importlib.util.find_spec(packages[peer]) is not None
    )


def measure(asked: Asked, settings: Settings, start: Callable[[str], Asker] | None = None) -> dict[str, Any]:
    """Every shape with LoRA and full fine-tuning, then generation; `start` gives the side of a name."""
    sides = {name: (start or Child)(name) for name in ("ours", *settings.peers)}
    try:
        with tempfile.TemporaryDirectory() as place:
            return _Run(asked, settings, sides, Path(place)).whole()
    finally:
        for side in sides.values():
            side.end()


@dataclass
class _Part:
    """What is asked of each side in every turn, and who has answered until now."""

    name: str
    request: dict[str, Any]
    working: list[str]


@dataclass
class _Run:
    asked: Asked
    settings: Settings
    sides: dict[str, Asker]
    place: Path
    began: float = field(default_factory=time.monotonic)
    out: set[str] = field(default_factory=set)  # peers that are not asked again

    def whole(self) -> dict[str, Any]:
        self.rates = self._ask("ours", {"what": "rates"})
        record = Record(self.asked, _claims(self.settings), machine() | self.rates)
        self.record = record
        record.note(
            settings=vars(self.settings),
            peer=f"plain loops as TRL's; installed: {', '.join(self.settings.peers)}",
        )
        if "failed" in self.rates:
            record.fail("ours", -1, f"rates: {self.rates['failed']}")
        parts = [part for shape in self.settings.shapes for part in self._parts(shape)]
        for turn in range(self.settings.turns):
            for part in parts:
                if self._left_s() <= 0:
                    reason = f"the budget of {self.settings.budget_s:.0f} s is spent; not begun: {part.name} and later"
                    record.fail("ours", turn, reason)
                    return record.finish(seconds=self._spent_s())
                self._turn(part, turn)
        return record.finish(seconds=self._spent_s())

    def _parts(self, shape: str) -> list[_Part]:
        """What is measured with the model of a shape, once it is there; nothing where it cannot be made."""
        settings, folder = self.settings, str(self.place / shape)
        made = self._ask("ours", {"what": "model", "shape": shape, "folder": folder})
        if "failed" in made:
            self.record.fail("ours", -1, f"{shape}: {made['failed']}")
            return []
        common: dict[str, Any] = {
            "shape": shape, "folder": folder, "longest": settings.longest, "batch_rows": settings.batch_rows,
        }  # fmt: skip
        parts = [
            _Part(f"{shape}_{method}", common | {"what": "train", "method": method}, list(self.sides))
            for method in ("lora", "full")
        ]
        beside = [name for name in self.sides if name in ("ours", "expert")]
        return [*parts, _Part(f"{shape}_generate", common | {"what": "generate"}, beside)]

    def _turn(self, part: _Part, turn: int) -> None:
        """One turn of all sides; one that fails is left out of what remains of the part, or of everything."""
        mine: dict[str, Any] = {}
        for name in [each for each in part.working if each not in self.out]:
            say(f"{part.name}, turn {turn + 1} of {self.settings.turns}: {name}")
            found = self._ask(name, part.request)
            if "failed" in found:
                part.working.remove(name)
                if name != "ours" and found["failed"].startswith(HOPELESS):
                    self.out.add(name)
                reason = f"{part.name}, {name}: {found['failed']}"
                self.record.fail("ours" if name == "ours" else "theirs", turn, reason)
            elif name == "ours":
                mine = found
                self._add_ours(part.name, turn, found, part.request["shape"])
            else:
                self._add_theirs(part.name, turn, name, mine, found)

    def _add_ours(self, part: str, turn: int, found: dict[str, Any], shape: str) -> None:
        speed = found["tokens_per_second"]
        figures = {f"{part}_tokens_per_second": speed}
        if not part.endswith("generate") and "bfloat16_flops" in self.rates:
            work = _work_per_token(shape, part.endswith("full"), self.settings.longest)
            figures[f"{part}_share"] = speed * work / self.rates["bfloat16_flops"]
        self.record.add("ours", turn, figures)

    def _add_theirs(
        self, part: str, turn: int, name: str, mine: dict[str, Any], found: dict[str, Any]
    ) -> None:
        """Beside each peer's figure stands ours of the same turn, so that their ratio is one of one turn."""
        for side, its in (("theirs", found), ("ours", mine)):
            if not its:
                continue
            figures = {f"{part}_{name}_tokens_per_second": its["tokens_per_second"]}
            if its.get("peak_memory_bytes"):
                figures[f"{part}_{name}_peak_memory_bytes"] = its["peak_memory_bytes"]
            if "text" in its:
                self.record.note(**{f"{part}_same_text": mine.get("text") == found.get("text")})
            self.record.add(side, turn, figures)

    def _ask(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        left = self._left_s()
        if left <= 0:
            return {"failed": f"not begun: the budget of {self.settings.budget_s:.0f} s is spent"}
        return self.sides[name].ask(request | {"device": self.settings.device}, min(left, ANSWER_S))

    def _spent_s(self) -> float:
        return time.monotonic() - self.began

    def _left_s(self) -> float:
        return self.settings.budget_s - self._spent_s()


def _claims(settings: Settings) -> list[Claim]:
    """The best peer that is installed comes first: Unsloth, else the expert's set-up."""
    claims = []
    for shape in settings.shapes:
        for method in ("lora", "full"):
            part = f"{shape}_{method}"
            for peer in sorted(settings.peers, key=tuple(reversed(PEERS)).index):
                name = f"{shape}, {method}, beside {peer}"
                claims.append(Claim(f"{part}_{peer}_tokens_per_second", LIMITS[peer], part=name, peer=peer))
                limit = MEMORY_LIMIT if peer == "defaults" else None
                claims.append(
                    Claim(f"{part}_{peer}_peak_memory_bytes", limit, better="lower", part=name, peer=peer)
                )
            share = SHARE_LIMIT if shape == "1b" else None
            name = f"{shape}, {method}, share"
            claims.append(Claim(f"{part}_share", share, measure="ours", unit="of the matrix rate", part=name))
    for shape in settings.shapes:
        figure, name = f"{shape}_generate_expert_tokens_per_second", f"{shape}, generation at batch 1"
        claims.append(Claim(figure, GENERATION_LIMIT, part=name, peer="transformers.generate"))
    return claims


def _work_per_token(shape: str, is_full: bool, longest: int) -> float:
    """Operations a token, of rows of mean length; half of each is trained."""
    mean = longest * 9 // 16
    each = Shape.of({"model_type": "llama", **SHAPES[shape]})
    return each.decoder_row(mean, mean // 2, rank=None if is_full else RANK) / mean


OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}  # nobody is asked


class Child:
    """A side in a process of its own; one that hangs or dies is ended, and started anew for the next request."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._begin()

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        if self._process is None:
            self._begin()
        process = self._process
        assert process is not None and process.stdin is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            found = self._lines.get(timeout=seconds)
        except queue.Empty:
            self.end()
            return {"failed": f"no answer within {seconds:.0f} s; the process was ended"}
        except OSError as reason:
            self.end()
            return {"failed": f"the process is gone: {reason}"}
        if found is None:
            code = process.wait()
            self.end()
            return {"failed": f"the process ended with {code}; see its output above"}
        if (
            "failed" in found
        ):  # out of memory, or an error after which the device answers nothing: it begins anew
            self.end()
        return found

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _begin(self) -> None:
        lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._lines = lines
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu_side", self._name], cwd=PROGRAM, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | OFFLINE,
        )  # fmt: skip

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                try:
                    lines.put(json.loads(line))
                except ValueError:
                    print(line, end="", file=sys.stderr)  # not its answer, but a greeting of some library
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()


if __name__ == "__main__":
    end_with_children()
    raise SystemExit(main())
