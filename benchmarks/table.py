"""What the files of all rows say, as the table of docs/performance.md; nothing in it is written by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROWS = (
    "sft-lora", "sft-lora-expert", "sft-full", "classify", "classify-expert", "head-only", "generate", "preflight",
    "window", "import",
)  # fmt: skip
OTHER_FILES = ("gpu",)  # of `benchmarks.gpu`, in the same form
BEGIN = "<!-- the table of `python -m benchmarks table`: begin -->"
END = "<!-- the table of `python -m benchmarks table`: end -->"
HEAD = (
    "row", "peer", "asked for", "found: median (least to most)", "held-out loss, ours and theirs",
    "peak memory, ours and theirs", "share of the possible, ours and theirs", "turns", "other load, cores", "on",
    "verdict",
)  # fmt: skip
NONE = "—"

Result = dict[str, Any]


def main(write: Path | None) -> int:
    """Print the table, or put it between the marks of a file."""
    text = "\n".join(whole(read_results()))
    if write is None:
        print(text)
    else:
        write.write_text(replaced(write.read_text(encoding="utf-8"), text), encoding="utf-8")
        print(f"{write} has the table of {FOLDER.name}/*.json", file=sys.stderr)
    return 0


def read_results(folder: Path = FOLDER) -> list[Result]:
    """The files there are, in the order of the rows; one that is missing says only its row."""
    found = []
    for row in (*ROWS, *OTHER_FILES):
        path = folder / f"{row}.json"
        if path.exists():
            found.append(json.loads(path.read_text(encoding="utf-8")))
        elif row in ROWS:
            found.append({"row": row})
    return found


def replaced(document: str, text: str) -> str:
    """The document with the table between its marks.

    Raises:
        ValueError: if there are no marks.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no {BEGIN} … {END} to write between")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def written(document: str) -> str:
    """The table that stands between the marks now."""
    return document.partition(BEGIN)[2].partition(END)[0].strip()


def whole(results: Sequence[Result]) -> list[str]:
    """Lines of the table, and below it the machines."""
    lines = [_line(HEAD), _line(["---"] * len(HEAD))]
    for result in results:
        lines += lines_of(result)
    return [*lines, *_machines(results)]


def lines_of(result: Result) -> list[str]:
    """A line for the row, and one for each of its other parts."""
    if "claims" not in result:
        return [_line([f"`{result['row']}`", *[NONE] * (len(HEAD) - 2), "not measured yet"])]
    parts: dict[str, list[Result]] = {}
    for claim in result["claims"]:
        parts.setdefault(claim["part"], []).append(claim)
    lines = [_cells(result, part, claims) for part, claims in parts.items()]
    if not result["complete"]:
        lines[0][-1] += f"; **unfinished**: {result['claims'][0]['num_turns']} of {result['num_runs']} turns"
    return [_line(cells) for cells in lines]


def _cells(result: Result, part: str, claims: list[Result]) -> list[str]:
    head = claims[0]
    its_own = not part
    name = f"`{result['row']}`" + (f": {part}" if part else "")
    verdict = "; ".join(words for claim in claims if (words := _verdict(claim)))
    return [
        name, head["peer"] or result["peer"] or NONE, _asked(head), _found(head),
        _pair(result["held_out_loss"], 1, "") if its_own else NONE,
        _memory(result) if its_own else NONE,
        _pair(result["share_of_possible"], 100, " %") if its_own else NONE,
        str(head["num_turns"]), _load(result), result["written_utc"][:10], verdict or NONE,
    ]  # fmt: skip


def _asked(claim: Result) -> str:
    if claim["limit"] is None:
        return NONE
    if claim["better"] == "near":
        return f"within {100 * claim['limit']:.3g} %"
    sign = "≥" if claim["better"] == "higher" else "≤"
    return f"{sign} {claim['limit']:.3g} {claim['unit']}"


def _found(claim: Result) -> str:
    value = claim["value"]
    if value is None:
        return NONE
    text = f"**{number(value['median'])} {claim['unit']}**"
    if claim["num_turns"] > 1:
        text += f" ({number(value['min'])} to {number(value['max'])})"
    if claim["measure"] == "ratio":
        scale, unit = _unit_of(claim["figure"])
        text += f"; {number(claim['ours'] * scale)} and {number(claim['theirs'] * scale)} {unit}".rstrip()
    elif claim["theirs"] is not None:
        text += f"; peer {number(claim['theirs'])}"
    return text


def _verdict(claim: Result) -> str:
    """Reached or not, and by how much; nothing for a claim without a limit."""
    if claim["limit"] is None or claim["value"] is None:
        return ""
    what = {"held_out_loss": "loss: ", "peak_memory_bytes": "memory: " if claim["better"] == "lower" else ""}
    name, value, limit = what.get(claim["figure"], ""), claim["value"], claim["limit"]
    if claim["better"] == "near":
        off = max(
            (value["min"], value["max"]) if claim["worst"] else (value["median"],), key=lambda v: abs(v - 1)
        )
        told = f"({100 * (off - 1):+.1f} %{' at worst' if claim['worst'] else ''})"
        if claim["figure"] == "held_out_loss" and off < 1 and not claim["reached"]:
            return f"{name}outside of ± {100 * limit:.3g} %, but lower {told}"
        return f"{name}{'reached' if claim['reached'] else '**not reached**'} {told}"
    judged = value["median"]
    if claim["worst"]:
        judged = value["min"] if claim["better"] == "higher" else value["max"]
    if claim["reached"]:
        return f"{name}reached" + (f" ({number(judged)})" if name else "")
    short = 100 * abs(judged / limit - 1)
    direction = "short by" if claim["better"] == "higher" else "over by"
    return f"{name}**not reached**, {direction} {f'{short:.0f}' if short >= 10 else f'{short:.2g}'} %"


def _memory(result: Result) -> str:
    text = _pair(result["peak_memory_bytes"], 1e-9, " GB")
    ratio = result["ratios"].get("peak_memory_bytes")
    return f"{text} ({number(ratio['median'])} ×)" if ratio else text


def _pair(found: Result | None, scale: float, unit: str) -> str:
    if not found:
        return NONE
    return ", ".join(number(found[side] * scale) for side in ("ours", "theirs") if side in found) + unit


def _load(result: Result) -> str:
    others = result["load"].get("others_cores")
    if others:
        return f"{others['median']:.2g} of {result['machine']['num_cores']}"
    load = result["load"].get("load")
    return f"load {load['median']:.2g}" if load else NONE


def _machines(results: Sequence[Result]) -> list[str]:
    """One line for each machine that the rows were measured on, with its rates."""
    lines: dict[str, list[str]] = {}
    for result in results:
        if "machine" in result:
            lines.setdefault(_machine(result["machine"]), []).append(result["row"])
    rates: dict[int, list[Result]] = {}
    for result in results:
        if "bfloat16_flops" in result.get("machine", {}) and "device" not in result["machine"]:
            rates.setdefault(result["num_threads"], []).append(result["machine"])
    told = [f"{machine} ({', '.join(f'`{row}`' for row in rows)})" for machine, rows in lines.items()]
    text = ["", "Machine: " + "; ".join(told) + "."] if told else []
    for num_threads, found in sorted(rates.items()):
        text[-1] += (
            f" What it can do with {num_threads} thread{'s' * (num_threads > 1)}, measured beside the rows: "
            f"products in bfloat16 {_range(found, 'bfloat16_flops')} GFLOP/s, "
            f"in float32 {_range(found, 'float32_flops')}; "
            f"a copy past the caches {_range(found, 'memory_bytes_per_second')} GB/s, read and written."
        )
    return text


def _machine(machine: Result) -> str:
    """With a GPU, also what that was and its rates; they are not those of the processor's threads."""
    text = f"{machine['processor']}, {machine['num_cores']} cores, torch {machine['torch']}"
    if "device" in machine:
        text += (
            f", {machine['device']}: products in bfloat16 {number(machine['bfloat16_flops'] / 1e12)} TFLOP/s, "
            f"a copy {number(machine['memory_bytes_per_second'] / 1e9)} GB/s, read and written"
        )
    return text


def _range(rates: Sequence[Result], name: str) -> str:
    values = [rate[name] / 1e9 for rate in rates if name in rate]
    if not values:
        return NONE
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def _unit_of(figure: str) -> tuple[float, str]:
    """How much of a figure's own unit the table's one is, and its name."""
    if figure.endswith("_per_second"):
        return 1.0, "tokens/s" if "tokens" in figure else "rows/s"
    if figure.endswith("_bytes"):
        return 1e-9, "GB"
    return 1.0, "s" if figure.endswith(("_s", "seconds")) else ""


def number(value: float) -> str:
    """Three significant digits, thousands by commas."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:.6f}".rstrip("0")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
