"""Versions of a data set: its original, what the steps made of it, and those that runs were made from.

    HOME/data/<name>/rows.arrow              the present version, dataset.json its card with the steps
    HOME/data/<name>/original/               rows and card as imported, once there is a step
    HOME/data/<name>/versions/<hash>/        rows and card of an earlier version that a run names

Files of different versions are hard links where the disk allows it: a version that did not change costs nothing.
Undoing is building anew from the original: the same steps on the same rows give the same hash.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.data.cards import link, read_card, write_card
from engine.data.dataset import Dataset
from engine.data.importing import CARD, ISSUES, REFUSED, ROWS
from engine.data.kept import ORIGINAL, VERSIONS, runs_by_hash
from engine.data.library import DataLibrary
from engine.data.steps.run_step import preview_step, write_version
from engine.data.steps.step import OnProgress
from engine.errors import UserError
from engine.home import Home
from engine.messages import DatasetInfo, DataStep, StepPreview

Check = Callable[[], None]


class DataSteps:
    """Previews, applies and undoes steps. Changes are all or nothing."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._library = DataLibrary(home)

    def preview(
        self, name: str, step: DataStep, num_samples: int = 20, progress: OnProgress | None = None,
        check: Check | None = None,
    ) -> StepPreview:  # fmt: skip
        """What a step would do on top of those there are; changes nothing."""
        return preview_step(self._library.open(name), step, num_samples, progress, check, self._home)

    def apply(
        self, name: str, step: DataStep, progress: OnProgress | None = None, check: Check | None = None
    ) -> DatasetInfo:
        """Add a step to those there are.

        Raises:
            UserError: what is wrong with the step, or "data-changed-meanwhile".
        """

        def fill(folder: Path, old: DatasetInfo) -> DatasetInfo:
            place = self._library.folder(name)
            info = write_version(Dataset(place, old), step, folder, progress, check, self._home)
            _keep_original(place, folder, original_of(place, old).info)
            return self._finished(place, folder, old, info)

        return self._library.rebuild(name, fill)

    def set_steps(
        self,
        name: str,
        steps: Sequence[DataStep],
        progress: OnProgress | None = None,
        check: Check | None = None,
    ) -> DatasetInfo:
        """Make the data set its original with these steps; () brings back the original.

        Raises:
            UserError: what is wrong with a step, or "data-changed-meanwhile".
        """

        def fill(folder: Path, old: DatasetInfo) -> DatasetInfo:
            place = self._library.folder(name)
            first = original_of(place, old)
            info = replay(self._home, first, steps, folder, progress, check)
            if steps:
                _keep_original(place, folder, first.info)
            return self._finished(place, folder, old, info)

        return self._library.rebuild(name, fill)

    def undo(
        self, name: str, count: int = 1, progress: OnProgress | None = None, check: Check | None = None
    ) -> DatasetInfo:
        """Take back the last steps.

        Raises:
            UserError: "nothing-to-undo".
        """
        steps = self._library.info(name).steps
        if not steps:
            raise UserError("nothing-to-undo", "There is no step to undo in {data!r}.", data=name)
        return self.set_steps(name, steps[: max(0, len(steps) - count)], progress, check)

    def _finished(self, place: Path, folder: Path, old: DatasetInfo, info: DatasetInfo) -> DatasetInfo:
        """Bring over what belongs to every version, and the versions that runs name; returns the card."""
        for file in (ISSUES, REFUSED):
            link(place / file, folder / file)
        keep_versions(self._home, place, folder, old, but=info.hash)
        num_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return dataclasses.replace(info, num_bytes=num_bytes, created_utc=old.created_utc)


def replay(
    home: Home, first: Dataset, steps: Sequence[DataStep], folder: Path, progress: OnProgress | None = None,
    check: Check | None = None,
) -> DatasetInfo:  # fmt: skip
    """Carry out the steps on the rows of `first`; the last result becomes the rows of `folder`."""
    dataset, info = first, first.info
    for number, step in enumerate(steps):
        stage = folder / f"stage-{number}"
        stage.mkdir()
        info = write_version(dataset, step, stage, progress, check, home)
        dataset = Dataset(stage, info)
    link(dataset.folder / ROWS, folder / ROWS)
    del dataset
    for number in range(len(steps)):
        shutil.rmtree(folder / f"stage-{number}")
    return info


def original_of(place: Path, info: DatasetInfo) -> Dataset:
    """The rows as they were imported; `info` is the card of the present version."""
    card = read_card(place / ORIGINAL, check_name=False)
    if card is None:
        return Dataset(place, info)
    card = dataclasses.replace(card, name=info.name, title=info.title, licence=info.licence)
    return Dataset(place / ORIGINAL, card)


def with_steps_of(
    home: Home, place: Path, folder: Path, old: DatasetInfo, original: DatasetInfo, *,
    progress: OnProgress | None, check: Check | None,
) -> DatasetInfo:  # fmt: skip
    """Carry out the steps of the data set at `place` on the original that lies in `folder`, now with other roles.

    The versions that runs name are kept. Returns the card of what `folder` then holds.
    """
    info = original
    if old.steps:
        first = folder / ORIGINAL
        first.mkdir()
        (folder / ROWS).replace(first / ROWS)
        write_card(first, original)
        info = replay(home, Dataset(first, original), old.steps, folder, progress, check)
    keep_versions(home, place, folder, old, but=info.hash)
    return info


def _keep_original(place: Path, folder: Path, card: DatasetInfo) -> None:
    """Bring the original into the staging folder, with its card (or `card`, where there was no step yet)."""
    first = place / ORIGINAL if (place / ORIGINAL / CARD).exists() else place
    (folder / ORIGINAL).mkdir()
    link(first / ROWS, folder / ORIGINAL / ROWS)
    write_card(folder / ORIGINAL, card)


def keep_versions(home: Home, place: Path, folder: Path, old: DatasetInfo, *, but: str) -> None:
    """Keep the outgoing version and earlier ones, as far as a run names them and they are not what comes (`but`)."""
    named = runs_by_hash(home)
    if old.hash in named and old.hash != but:
        _keep_version(place / ROWS, old, folder)
    for kept in (place / VERSIONS).glob("*"):
        card = read_card(kept, check_name=False)
        if card is not None and card.hash in named and card.hash not in (but, old.hash):
            _keep_version(kept / ROWS, card, folder)


def _keep_version(rows: Path, card: DatasetInfo, folder: Path) -> None:
    target = folder / VERSIONS / card.hash
    target.mkdir(parents=True)
    link(rows, target / ROWS)
    write_card(target, card)
