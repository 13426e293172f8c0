"""The GPU benchmark on its stand-in: a tiny model on the processor goes the same way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from benchmarks import gpu, gpu_side
from benchmarks.compare import Asked
from benchmarks.gpu import Child, Settings, measure

TINY = Settings(device="cpu", shapes=("tiny",), longest=32, batch_rows=4, turns=1, budget_s=300)


class Here:
    """A side in this process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[str] = []

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        self.asked.append(request["what"])
        return gpu_side.answer(self.name, request)

    def end(self) -> None:
        self.asked.append("end")


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_side, "STEPS", 2)
    monkeypatch.setattr(gpu_side, "WARM_UP", 1)
    monkeypatch.setattr(gpu_side, "NEW_TOKENS", 6)


def test_every_side_trains_the_same_rows_and_writes_the_same_text(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    found = measure(Asked("gpu", path=path, num_runs=1), TINY, Here)
    assert found["complete"] and not found["failures"]
    for method in ("lora", "full"):
        for peer in ("defaults", "expert"):
            assert found["ratios"][f"tiny_{method}_{peer}_tokens_per_second"]["median"] > 0
        assert found["ours"][f"tiny_{method}_share"] > 0
    assert found["tiny_generate_same_text"] is True
    assert json.loads(path.read_text(encoding="utf-8"))["claims"] == found["claims"]


def test_a_side_that_cannot_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    """Unsloth is not installed here, so it is asked once; a peer that runs out of memory is left out of that part."""

    class Scarce(Here):
        def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
            if self.name == "defaults" and request.get("method") == "full":
                return {"failed": "OutOfMemoryError: of the device"}
            return super().ask(request, seconds)

    settings = Settings(**vars(TINY) | {"peers": ("defaults", "expert", "unsloth")})
    found = measure(Asked("gpu", path=tmp_path / "gpu.json", num_runs=1), settings, Scarce)
    reasons = [failure["reason"] for failure in found["failures"]]
    assert [reason.split(":")[0] for reason in reasons] == [
        "tiny_lora, unsloth", "tiny_full, defaults"
    ]  # fmt: skip
    assert not found["complete"]
    assert {"tiny_lora_expert_tokens_per_second", "tiny_full_expert_tokens_per_second"} <= set(
        found["ratios"]
    )
    assert "tiny_full_defaults_tokens_per_second" not in found["ratios"]


def test_a_spent_budget_ends_it_with_what_there_is(tmp_path: Path) -> None:
    class Slow(Here):
        def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
            assert 0 < seconds <= 120
            return {"failed": "slow"}

    settings = Settings(**vars(TINY) | {"budget_s": 0.0})
    found = measure(Asked("gpu", path=tmp_path / "gpu.json", num_runs=1), settings, Slow)
    assert all("the budget of 0 s is spent" in failure["reason"] for failure in found["failures"])
    assert json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["complete"] is False


class Told(Here):
    """Answers at once with figures that are made up; `asked` is that of all sides."""

    everything: ClassVar[list[tuple[str, str]]] = []
    clock: ClassVar[list[float]] = []

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        if request["what"] in ("rates", "model"):
            return {"bfloat16_flops": 1e12}
        self.everything.append((self.name, request.get("method", "generate")))
        self.clock[0] += 10.0
        return {"tokens_per_second": 5.0, "peak_memory_bytes": 7}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> type[Told]:
    """Each answer takes ten seconds of a clock that stands otherwise."""
    monkeypatch.setattr(Told, "everything", [])
    monkeypatch.setattr(Told, "clock", [0.0])
    monkeypatch.setattr(gpu._Run, "_spent_s", lambda run: Told.clock[0])
    return Told


def test_every_part_has_its_first_turn_before_any_has_its_second(tmp_path: Path, told: type[Told]) -> None:
    """A budget that does not suffice costs turns and no part."""
    settings = Settings(**vars(TINY) | {"turns": 3, "budget_s": 95.0})
    path = tmp_path / "gpu.json"
    found = measure(Asked("gpu", path=path, num_runs=3), settings, told)
    parts = [method for name, method in told.everything if name == "ours"]
    assert parts == ["lora", "full", "generate", "lora"]
    assert set(found["ratios"]) >= {
        f"tiny_{part}_expert_tokens_per_second" for part in ("lora", "full", "generate")
    }
    reasons = [each["reason"] for each in found["failures"]]
    assert reasons[-1] == "the budget of 95 s is spent; not begun: tiny_full and later"
    assert all("the budget of 95 s is spent" in reason for reason in reasons)
    assert not found["complete"] and json.loads(path.read_text(encoding="utf-8"))["ratios"] == found["ratios"]


@pytest.mark.parametrize(
    "reason", ["no answer within 120 s", "the process ended with -9", "ImportError: no kernels"]
)
def test_a_peer_that_would_fail_everywhere_is_asked_once(
    tmp_path: Path, told: type[Told], reason: str
) -> None:
    class Hanging(told):  # type: ignore[valid-type,misc]
        def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
            found = super().ask(request, seconds)
            return {"failed": reason} if self.name == "expert" else found

    found = measure(Asked("gpu", path=tmp_path / "gpu.json", num_runs=1), TINY, Hanging)
    assert [method for name, method in told.everything if name == "expert"] == ["lora"]
    assert [each["reason"] for each in found["failures"]] == [f"tiny_lora, expert: {reason}"]
    assert set(found["ratios"]) >= {f"tiny_{part}_defaults_tokens_per_second" for part in ("lora", "full")}


def test_without_a_gpu_it_says_so_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu", "--json", str(tmp_path / "gpu.json")])
    assert gpu.main() == 1
    told = capsys.readouterr().err
    assert "sees no GPU" in told and told.count("\n") == 1
    monkeypatch.setattr("sys.argv", ["gpu", "--json", str(tmp_path / "nowhere" / "gpu.json")])
    assert gpu.main() == 1 and "cannot be written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_hangs_or_dies_is_an_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A real child, which answers once it is started anew."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    (tmp_path / "benchmarks" / "gpu_side.py").write_text(
        "import json, os, sys, time\n"
        "for line in sys.stdin:\n"
        "    what = json.loads(line)['what']\n"
        "    if what == 'die':\n"
        "        os._exit(3)\n"
        "    if what == 'refuse':\n"
        "        print(json.dumps({'failed': 'OutOfMemoryError', 'pid': os.getpid()}), flush=True)\n"
        "        continue\n"
        "    print('a library greets', flush=True)\n"
        "    if what == 'hang':\n"
        "        time.sleep(60)\n"
        "    print(json.dumps({'said': what}), flush=True)\n",
        encoding="utf-8",
    )
    monkeypatch.setattr("benchmarks.gpu.PROGRAM", tmp_path)
    child = Child("ours")
    try:
        assert child.ask({"what": "one"}, 30) == {"said": "one"}
        assert "no answer within" in child.ask({"what": "hang"}, 0.5)["failed"]
        assert child.ask({"what": "two"}, 30) == {"said": "two"}
        assert "ended with 3" in child.ask({"what": "die"}, 30)["failed"]
        assert child.ask({"what": "three"}, 30) == {"said": "three"}
        first, second = (child.ask({"what": "refuse"}, 30) for _ in range(2))
        assert first["failed"] == "OutOfMemoryError" and first["pid"] != second["pid"], "it begins anew"
        assert child.ask({"what": "four"}, 30) == {"said": "four"}
    finally:
        child.end()
