"""Reports on the disk: HOME/reports/<id>/ with info.json, report.json and rows.arrow; written whole, read by page.

Knows no model: a report is what was found, and stays readable without it.
"""

from __future__ import annotations

import builtins
import dataclasses
import functools
import json
import os
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from engine.data.staging import Staging
from engine.errors import UserError
from engine.home import Home
from engine.messages import (
    ReadReportRows,
    Report,
    ReportInfo,
    ReportRow,
    ReportRows,
    ScoredLabel,
    TokenLoss,
    from_json,
    to_json,
)

INFO, REPORT, ROWS = "info.json", "report.json", "rows.arrow"
TRASH_PREFIX = "report-"
BATCH_ROWS = 512
MOST_ROWS = 1000  # of one page
SCHEMA = pa.schema(
    [
        ("position", pa.int64()), ("truth", pa.string()), ("prediction", pa.string()), ("score", pa.float64()),
        ("loss", pa.float64()), ("error", pa.string()), ("length", pa.int64()), ("group", pa.string()),
        ("inputs", pa.string()),
        ("probabilities", pa.list_(pa.struct([("label", pa.string()), ("score", pa.float64())]))),
        ("tokens", pa.list_(pa.struct([("text", pa.string()), ("nats", pa.float64())]))),
    ]
)  # fmt: skip


def new_report_id() -> str:
    """Sorts by time, as the ids of runs do."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


class ReportStore:
    """The reports of a home. Safe to use from several processes: a report never changes."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._open = functools.lru_cache(maxsize=2)(_Rows)

    # ------------------------------------------------------------------------------------------ writing

    def save(self, report: Report, rows: Sequence[ReportRow]) -> Path:
        """Write a report under its id, all or nothing; returns its folder.

        Raises:
            UserError: "disk-full".
        """
        with Staging(self._home.reports) as folder:
            _write_rows(folder / ROWS, rows)
            _write_json(folder / REPORT, to_json(report))
            _write_json(folder / INFO, to_json(report.info))
            return folder.rename(self._home.reports / report.info.id)

    def delete(self, id: str) -> str:
        """Move a report to the trash; returns the token for `restore`. Raises UserError "report-not-found"."""
        folder = self.folder(id)
        token = f"{TRASH_PREFIX}{id}"
        self._home.trash.mkdir(parents=True, exist_ok=True)
        self._open.cache_clear()
        folder.rename(self._home.trash / token)
        return token

    def restore(self, token: str) -> ReportInfo:
        """Raises UserError "trash-not-found"."""
        place = self._home.trash / token
        if not self.owns(token) or not place.is_dir():
            raise UserError("trash-not-found", "There is nothing in the trash under {token!r}.", token=token)
        id = token.removeprefix(TRASH_PREFIX)
        place.rename(self._home.reports / id)
        return _read_info(self._home.reports / id)

    @staticmethod
    def owns(token: str) -> bool:
        """Whether a token of the trash is one of a report."""
        return bool(re.fullmatch(TRASH_PREFIX + r"[\w-]+", token))

    # ------------------------------------------------------------------------------------------ reading

    def list(self, source: str = "") -> builtins.list[ReportInfo]:
        """The newest first; those of one run (any of its checkpoints) or model where `source` is given."""
        folders = [path.parent for path in self._home.reports.glob(f"[!.]*/{INFO}")]
        found = [
            _read_info(folder) for folder in sorted(folders, key=lambda folder: folder.name, reverse=True)
        ]
        return [info for info in found if not source or source in (info.source, info.run)]

    def folder(self, id: str) -> Path:
        """Raises UserError "report-not-found"."""
        folder = self._home.reports / id
        if not id or Path(id).name != id or not (folder / INFO).is_file():
            raise UserError(
                "report-not-found",
                "There is no report {report!r}. `python main.py reports` lists them.",
                report=id,
            )
        return folder

    def read(self, id: str) -> Report:
        """Raises UserError "report-not-found"."""
        value = orjson.loads((self.folder(id) / REPORT).read_bytes())
        report: Report = from_json({**value, "type": "Report"})
        return report

    def rows(self, request: ReadReportRows) -> ReportRows:
        """A page of the rows that fit the request. Raises UserError "report-not-found"."""
        return self._open(self.folder(request.report)).page(request)

    def wrong_positions(self, id: str) -> builtins.list[int]:
        """Where the rows that were not right stand in the data set, each once, in order."""
        rows = self._open(self.folder(id))
        return sorted(set(rows.positions[rows.is_wrong].tolist()))


def _read_info(folder: Path) -> ReportInfo:
    info: ReportInfo = from_json({**orjson.loads((folder / INFO).read_bytes()), "type": "ReportInfo"})
    return info


def _write_json(path: Path, value: dict[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())


def _write_rows(path: Path, rows: Sequence[ReportRow]) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        for start in range(0, len(rows), BATCH_ROWS):
            values = [_stored(row) for row in rows[start : start + BATCH_ROWS]]
            writer.write_batch(pa.RecordBatch.from_pylist(values, schema=SCHEMA))


def _stored(row: ReportRow) -> dict[str, Any]:
    return {
        **dataclasses.asdict(row),
        "inputs": json.dumps(row.inputs, ensure_ascii=False),
    }


class _Rows:
    """The rows of one report, memory-mapped; what filters look at is read once."""

    def __init__(self, folder: Path) -> None:
        self._reader = pa.ipc.open_file(pa.memory_map(str(folder / ROWS)))
        self._batches = [self._reader.get_batch(number) for number in range(self._reader.num_record_batches)]
        self.positions: NDArray[np.int64] = self._numbers("position").astype(np.int64)
        self._lengths = self._numbers("length")
        self._scores = np.nan_to_num(self._numbers("score"), nan=-1.0)
        self._losses = np.nan_to_num(self._numbers("loss"), nan=0.0)
        self._errors = self._texts("error")
        self._truths, self._predictions = self._texts("truth"), self._texts("prediction")

    @property
    def is_wrong(self) -> NDArray[np.bool_]:
        return np.asarray([error != "" for error in self._errors], bool)

    def page(self, request: ReadReportRows) -> ReportRows:
        fits = self._fitting(request)
        order = self._ordered(np.flatnonzero(fits), request)
        shown = order[request.offset : request.offset + min(request.num_rows, MOST_ROWS)]
        return ReportRows(tuple(self._row(int(number)) for number in shown), len(order), request.offset)

    def _fitting(self, request: ReadReportRows) -> NDArray[np.bool_]:
        fits = np.ones(len(self.positions), bool)
        if request.show != "all":
            fits &= self.is_wrong == (request.show == "wrong")
        if request.error:
            fits &= np.asarray([error == request.error for error in self._errors], bool)
        for label, texts in ((request.truth, self._truths), (request.prediction, self._predictions)):
            if label:
                fits &= np.asarray([text == label or label in text.split(", ") for text in texts], bool)
        fits &= self._lengths >= request.min_length
        if request.max_length:
            fits &= self._lengths <= request.max_length
        return fits

    def _ordered(self, numbers: NDArray[np.int64], request: ReadReportRows) -> NDArray[np.int64]:
        if request.order == "random":
            return np.random.default_rng(request.seed).permutation(numbers)
        if request.order in ("best", "worst"):
            badness = np.lexsort((self._losses[numbers], -self._scores[numbers]))
            return numbers[badness if request.order == "best" else badness[::-1]]
        return numbers

    def _row(self, number: int) -> ReportRow:
        batch, place = divmod(number, BATCH_ROWS)
        value = self._batches[batch].slice(place, 1).to_pylist()[0]
        return ReportRow(
            **{
                **value,
                "inputs": json.loads(value["inputs"]),
                "probabilities": tuple(ScoredLabel(**each) for each in value["probabilities"]),
                "tokens": tuple(TokenLoss(**each) for each in value["tokens"]),
            }
        )

    def _numbers(self, name: str) -> NDArray[np.float64]:
        parts = [
            batch.column(SCHEMA.get_field_index(name)).to_numpy(zero_copy_only=False)
            for batch in self._batches
        ]
        return np.concatenate([np.zeros(0), *parts]).astype(np.float64)

    def _texts(self, name: str) -> list[str]:
        return [
            text for batch in self._batches for text in batch.column(SCHEMA.get_field_index(name)).to_pylist()
        ]
