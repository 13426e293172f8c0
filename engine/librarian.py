"""The librarian: the process that keeps models and data (`python -m engine.librarian HOME`).

Composition only: which request is answered by whom. Several threads, so that a page of rows is answered
while a download runs; nothing heavy is imported before the first request that needs it.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
import typing
from pathlib import Path
from typing import Any

from engine import messages as m
from engine.errors import UserError
from engine.gallery import all_recipes
from engine.home import Home
from engine.models.library import TRASH_PREFIX, ModelLibrary
from engine.models.starters import all_starters, get_starter
from engine.preflight.measure import preflight, sweep_preflights, tune
from engine.recipe import Recipe
from engine.service import Errand, Handlers, serve
from engine.supervised import sweep_downloads

log = logging.getLogger("tunebench.librarian")

NUM_THREADS = 6
REPORT_TRASH_PREFIX = "report-"


class Librarian:
    """Answers the requests about models, starters and the machine; hands those about data on."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._models = ModelLibrary(home)
        self._importing = threading.Lock()

    def handlers(self) -> Handlers:
        own: Handlers = {
            m.ListData: self._list_data,
            m.ListModels: self._list_models,
            m.GetStarter: self._get_starter,
            m.AddModel: self._add_model,
            m.GetHubModel: self._get_hub_model,
            m.CreateModel: self._create_model,
            m.ListRecipes: self._list_recipes,
            m.DeleteModel: self._delete_model,
            m.RestoreFromTrash: self._restore,
            m.DescribeMachine: self._describe_machine,
            m.EstimateRun: self._estimate,
            m.AdviseMethods: self._advise,
            m.PreflightRun: self._preflight,
            m.TuneForMachine: self._tune,
        }
        reports = (
            m.EvaluateModel, m.ListReports, m.ReadReport, m.ReadReportRows, m.SaveHardSet, m.DeleteReport,
        )  # fmt: skip
        own |= {kind: self._about_reports for kind in reports}
        return {kind: self._about_data for kind in typing.get_args(m.LibrarianRequest)} | own

    # ------------------------------------------------------------------------------------------- lists

    def _list_models(self, _request: m.ListModels, _errand: Errand) -> m.ModelList:
        return m.ModelList(tuple(self._models.list()), tuple(self._models.starters()))

    def _list_recipes(self, _request: m.ListRecipes, _errand: Errand) -> m.RecipeList:
        return m.RecipeList(tuple(one.info(self._home) for one in all_recipes()))

    def _list_data(self, _request: m.ListData, _errand: Errand) -> m.DataList:
        starters = [starter.info(self._home) for starter in all_starters() if starter.kind == "data"]
        return m.DataList(tuple(self._data_library().list()), tuple(starters))

    # ------------------------------------------------------------------------------------------ models

    def _get_starter(self, request: m.GetStarter, errand: Errand) -> m.ModelInfo | m.DatasetInfo:
        return get_starter(self._home, request.id, errand.progress, errand.check)

    def _add_model(self, request: m.AddModel, errand: Errand) -> m.ModelInfo:
        return self._models.add(request.path, request.name, errand.progress, errand.check)

    def _get_hub_model(self, request: m.GetHubModel, errand: Errand) -> m.ModelInfo:
        return self._models.get_hub(request.repo_id, request.revision, errand.progress, errand.check)

    def _create_model(self, request: m.CreateModel, errand: Errand) -> m.ModelInfo:
        with self._importing:
            from engine.models.new import create_model
        return create_model(self._home, request, errand.progress, errand.check)

    def _delete_model(self, request: m.DeleteModel, _errand: Errand) -> m.Done:
        num_bytes = self._models.info(request.id).num_bytes
        return m.Done(self._models.delete(request.id), num_bytes)

    def _restore(self, request: m.RestoreFromTrash, _errand: Errand) -> m.Done:
        """The token says whether it was a model, a report or a data set."""
        if request.token.startswith(TRASH_PREFIX):
            return m.Done(request.token, self._models.restore(request.token).num_bytes)
        if request.token.startswith(REPORT_TRASH_PREFIX):
            self._report_store().restore(request.token)
            return m.Done(request.token)
        library = self._data_library()
        if library.owns(request.token):
            return m.Done(request.token, library.restore(request.token).num_bytes)
        raise UserError(
            "trash-not-found", "There is nothing in the trash under {token!r}.", token=request.token
        )

    # ------------------------------------------------------------------------------ machine, estimates

    def _describe_machine(self, _request: m.DescribeMachine, _errand: Errand) -> m.MachineInfo:
        from engine.device import describe_machine

        return describe_machine(self._home)

    def _estimate(self, request: m.EstimateRun, errand: Errand) -> m.RunEstimate:
        with self._importing:
            from engine.preflight.estimate import estimate_run
        return estimate_run(self._home, request.recipe, errand.progress)

    def _advise(self, request: m.AdviseMethods, errand: Errand) -> m.MethodAdvice:
        with self._importing:
            from engine.preflight.advisor import advise_methods
        return advise_methods(self._home, request.recipe, errand.progress)

    # ----------------------------------------------------------------------------------------- reports

    def _about_reports(self, request: Any, errand: Errand) -> Any:
        return self._report_handlers[type(request)](request, errand)

    @functools.cached_property
    def _report_handlers(self) -> Handlers:
        with self._importing:
            from engine.evaluation.requests import handlers
        return handlers(self._home)

    def _report_store(self) -> Any:
        with self._importing:
            from engine.evaluation.report_store import ReportStore
        return ReportStore(self._home)

    def _preflight(self, request: m.PreflightRun, errand: Errand) -> m.Preflight:
        recipe = Recipe.from_dict(request.recipe)
        return preflight(self._home, recipe, errand.progress, errand.check, with_fixes=request.with_fixes)

    def _tune(self, request: m.TuneForMachine, errand: Errand) -> m.MachineTuning:
        return tune(self._home, Recipe.from_dict(request.recipe), errand.progress, errand.check)

    # -------------------------------------------------------------------------------------------- data

    def _about_data(self, request: Any, errand: Errand) -> Any:
        return self._data_handlers[type(request)](request, errand)

    @functools.cached_property
    def _data_handlers(self) -> Handlers:
        with self._importing:
            from engine.data.requests import handlers
        return handlers(self._home)

    def _data_library(self) -> Any:
        with self._importing:
            from engine.data.library import DataLibrary
        return DataLibrary(self._home)


def main(arguments: list[str]) -> int:
    """Serve until stdin closes."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    home = Home.locate(arguments[0] if arguments else None)
    try:
        home.create()
        removed = sweep_downloads(home.downloads)
        sweep_preflights(home)
    except OSError as refusal:  # lists still work; whatever writes says the same in its own answer
        log.warning("%s cannot be written: %s", Path(refusal.filename or home.root), refusal.strerror)
    else:
        for name in removed:
            log.warning("removed an unfinished download: %s", name)
    serve(Librarian(home).handlers(), num_threads=NUM_THREADS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
