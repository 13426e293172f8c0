"""The librarian's answers about what is done to data: steps, edits, statistics and exports."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.data.encode import load_tokenizer
from engine.data.labels import count_labels, label_column
from engine.data.library import DataLibrary
from engine.data.steps.registry import STEPS
from engine.data.steps.versions import DataSteps
from engine.home import Home
from engine.messages import (
    AddRow,
    ApplyStep,
    DataLabels,
    DatasetInfo,
    DataStatistics,
    DataStep,
    DeleteRows,
    DescribeData,
    Done,
    EditCell,
    ExportData,
    ListLabels,
    ListSteps,
    PreviewStep,
    SetSteps,
    StepKind,
    StepKinds,
    StepPreview,
)
from engine.models.library import ModelLibrary
from engine.service import Errand, Handlers


def handlers(home: Home, let_go: Callable[[], None]) -> Handlers:
    """The handlers of these requests for the service process of this home.

    `let_go` is called before a data set is replaced: whoever keeps its files open closes them.
    """
    desk = _StepDesk(home, let_go)
    return {
        ListSteps: desk.list_steps,
        ListLabels: desk.list_labels,
        PreviewStep: desk.preview,
        ApplyStep: desk.apply,
        SetSteps: desk.set_steps,
        EditCell: desk.edit_cell,
        AddRow: desk.add_row,
        DeleteRows: desk.delete_rows,
        ExportData: desk.export,
        DescribeData: desk.describe,
    }


class _StepDesk:
    def __init__(self, home: Home, let_go: Callable[[], None]) -> None:
        self._home = home
        self._let_go = let_go
        self._library = DataLibrary(home)
        self._steps = DataSteps(home)

    def list_labels(self, request: ListLabels, errand: Errand) -> DataLabels:
        dataset = self._library.open(request.name)
        return DataLabels(request.name, label_column(dataset.info.roles), count_labels(dataset))

    def list_steps(self, request: ListSteps, errand: Errand) -> StepKinds:
        models = tuple(model.id for model in ModelLibrary(self._home).list())
        return StepKinds(tuple(_with_models(step.kind, models) for step in STEPS))

    def preview(self, request: PreviewStep, errand: Errand) -> StepPreview:
        return self._steps.preview(
            request.name, request.step, request.num_samples, errand.progress, errand.check
        )

    def apply(self, request: ApplyStep, errand: Errand) -> DatasetInfo:
        self._let_go()
        return self._steps.apply(request.name, request.step, errand.progress, errand.check)

    def set_steps(self, request: SetSteps, errand: Errand) -> DatasetInfo:
        self._let_go()
        return self._steps.set_steps(request.name, request.steps, errand.progress, errand.check)

    def edit_cell(self, request: EditCell, errand: Errand) -> DatasetInfo:
        change = {"action": "cell", "rows": [request.row], "values": {request.column: request.value}}
        return self._edited(request.name, change, errand)

    def add_row(self, request: AddRow, errand: Errand) -> DatasetInfo:
        return self._edited(request.name, {"action": "add", "values": request.values}, errand)

    def delete_rows(self, request: DeleteRows, errand: Errand) -> DatasetInfo:
        return self._edited(request.name, {"action": "delete", "rows": list(request.rows)}, errand)

    def export(self, request: ExportData, errand: Errand) -> Done:
        from engine.data.steps.exports import export_data

        dataset = self._library.open(request.name)
        path = Path(request.path).expanduser().absolute()
        num_bytes = export_data(dataset, path, request.format, errand.progress, errand.check)
        return Done(num_bytes=num_bytes)

    def describe(self, request: DescribeData, errand: Errand) -> DataStatistics:
        from engine.data.requests import model_folder, recipe_of
        from engine.data.statistics import describe_data

        dataset = self._library.open(request.name)
        recipe = recipe_of(request.recipe) if request.recipe else None
        tokenizer = load_tokenizer(model_folder(self._home, request.model)) if request.model else None
        return describe_data(dataset, recipe, tokenizer, errand.progress, errand.check)

    def _edited(self, name: str, settings: dict[str, Any], errand: Errand) -> DatasetInfo:
        self._let_go()
        return self._steps.apply(name, DataStep("edit", settings), errand.progress, errand.check)


def _with_models(kind: StepKind, models: tuple[str, ...]) -> StepKind:
    """The kind with the models that there are as choices of its settings for one."""
    settings = tuple(
        dataclasses.replace(each, choices=models) if each.type == "model" else each for each in kind.settings
    )
    return dataclasses.replace(kind, settings=settings)
