"""The librarian's answers about data: each request of `engine.messages` and the call that answers it."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

from engine.data.dataset import Dataset
from engine.data.encode import load_tokenizer
from engine.data.issue_requests import handlers as issue_handlers
from engine.data.library import DataLibrary
from engine.data.step_requests import handlers as step_handlers
from engine.data.token_view import count_tokens, view_row
from engine.errors import UserError
from engine.home import Home
from engine.messages import (
    CountTokens,
    DataPreview,
    DatasetInfo,
    DeleteData,
    Done,
    HubDataInfo,
    ImportData,
    ImportHubData,
    ImportReport,
    LookUpHubData,
    PreviewData,
    ReadRows,
    RenameData,
    RowsPage,
    SetRoles,
    TokenStatistics,
    TokenView,
    ViewTokens,
)
from engine.recipe import FIELDS, Recipe, kind_of_config, tasks_for
from engine.service import Errand, Handlers

MAX_ISSUES = 1000


def handlers(home: Home) -> Handlers:
    """The handlers of data requests for the service process of this home."""
    desk = _Desk(home)
    return {
        ImportData: desk.import_data,
        LookUpHubData: desk.look_up,
        ImportHubData: desk.import_hub_data,
        PreviewData: desk.preview,
        ReadRows: desk.read_rows,
        SetRoles: desk.set_roles,
        RenameData: desk.rename,
        DeleteData: desk.delete,
        ViewTokens: desk.view_tokens,
        CountTokens: desk.count_tokens,
        **step_handlers(home, desk.let_go),
        **issue_handlers(home, desk.let_go, _for_the_pipe),
    }


class _Desk:
    """Answers requests; keeps the data sets that were read last open."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._library = DataLibrary(home)
        self._open = functools.lru_cache(maxsize=4)(self._opened)

    def import_data(self, request: ImportData, errand: Errand) -> ImportReport:
        report = self._library.import_files(
            request.paths, request.name, roles=request.roles, task=request.task, text_unit=request.text_unit,
            progress=errand.progress, check=errand.check,
        )  # fmt: skip
        return _for_the_pipe(report)

    def look_up(self, request: LookUpHubData, errand: Errand) -> HubDataInfo:
        from engine.data.hub_data import look_up

        return look_up(self._home, request.repo_id, request.revision, request.subset, errand.check)

    def import_hub_data(self, request: ImportHubData, errand: Errand) -> ImportReport:
        from engine.data.hub_data import import_hub_data

        return _for_the_pipe(import_hub_data(self._home, request, errand.progress, errand.check))

    def preview(self, request: PreviewData, errand: Errand) -> DataPreview:
        return self._library.preview(request.paths, request.num_rows, text_unit=request.text_unit)

    def read_rows(self, request: ReadRows, errand: Errand) -> RowsPage:
        return self._dataset(request.name).page(
            request.offset, request.num_rows, request.query, sort=request.sort, descending=request.descending
        )

    def set_roles(self, request: SetRoles, errand: Errand) -> ImportReport:
        self._open.cache_clear()
        report = self._library.set_roles(
            request.name, request.roles, progress=errand.progress, check=errand.check
        )
        return _for_the_pipe(report)

    def rename(self, request: RenameData, errand: Errand) -> DatasetInfo:
        self._open.cache_clear()
        return self._library.rename(request.name, request.new_name)

    def delete(self, request: DeleteData, errand: Errand) -> Done:
        self._open.cache_clear()
        num_bytes = self._library.info(request.name).num_bytes
        kept_for = self._library.runs_of(request.name)
        return Done(self._library.delete(request.name), num_bytes, kept_for)

    def view_tokens(self, request: ViewTokens, errand: Errand) -> TokenView:
        dataset, recipe = self._dataset(request.data), recipe_of(request.recipe)
        folder = model_folder(self._home, request.model)
        tokenizer = load_tokenizer(folder)
        places = [place for place in request.rows if 0 <= place < len(dataset)]
        if not _is_writing(recipe, dataset, folder):
            from engine.token_rows import view_rows, with_task  # torch comes with the tasks

            return TokenView(tuple(view_rows(dataset, with_task(recipe, dataset, folder), tokenizer, places)))
        rows = []
        for place in places:
            errand.check()
            rows.append(view_row(dataset, place, tokenizer, recipe))
        return TokenView(tuple(rows))

    def count_tokens(self, request: CountTokens, errand: Errand) -> TokenStatistics:
        dataset, recipe = self._dataset(request.data), recipe_of(request.recipe)
        folder = model_folder(self._home, request.model)
        tokenizer = load_tokenizer(folder)
        if _is_writing(recipe, dataset, folder):
            return count_tokens(dataset, tokenizer, recipe, errand.progress)
        from engine.token_rows import count_rows, with_task  # torch comes with the tasks

        return count_rows(dataset, with_task(recipe, dataset, folder), tokenizer, errand.progress)

    def let_go(self) -> None:
        """Close the data sets that are kept open: some systems cannot replace an open file."""
        self._open.cache_clear()

    def _dataset(self, name: str) -> Dataset:
        info = self._library.info(name)
        return self._open(name, info.hash, info.created_utc)

    def _opened(self, name: str, hash: str, created_utc: str) -> Dataset:
        return self._library.open(name)


def _for_the_pipe(report: ImportReport) -> ImportReport:
    """The first issues only; ReadIssues gives the others by page."""
    return dataclasses.replace(report, issues=report.issues[:MAX_ISSUES])


def model_folder(home: Home, model: str) -> Path:
    """Where a model's tokenizer lies: an id of the library, a folder, or a run (its base model).

    Raises:
        UserError: "model-not-found".
    """
    if model and (home.models / model / "config.json").exists():
        return home.models / model
    if model and (Path(model) / "config.json").exists():
        return Path(model)
    run = home.run(model.partition("@")[0]) if model else home.runs
    if model and (run / "recipe.toml").exists():
        return model_folder(home, Recipe.load(run / "recipe.toml").model)
    raise UserError(
        "model-not-found",
        "There is no model {model!r}. `python main.py models` lists what there is.",
        model=model,
    )


def _is_writing(recipe: Recipe, dataset: Dataset, model: Path) -> bool:
    """Whether rows are seen as a causal language model does: it was asked for, or is what fits."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    fitting = tasks_for(dataset.info.shape, kind_of_config(config))
    return (recipe.task or next(iter(fitting), "causal-lm")) == "causal-lm"


def recipe_of(fields: dict[str, Any]) -> Recipe:
    """The recipe of a request; what this build does not know is left to its default."""
    return Recipe.from_dict({key: value for key, value in fields.items() if key in FIELDS})
