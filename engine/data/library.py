"""The data sets of a home: import, list, open, rename, delete. Owns HOME/data/<name>/ and its trash.

A data set is a folder with dataset.json (its card, written last), rows.arrow, issues.jsonl and refused.jsonl
(rows that were read but do not fit the roles: other roles may bring them back). Everything that changes a
data set is done beside it and put in place by a rename.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import filelock

from engine.data.cards import read_card, share, write_card
from engine.data.dataset import Dataset
from engine.data.examples import ExampleMaker
from engine.data.importing import (
    ISSUES,
    REFUSED,
    ROWS,
    SAMPLE_ROWS,
    Numbered,
    OnProgress,
    Plan,
    describe,
    make_plan,
    nothing_usable,
    plan_of,
    read_all,
    store,
)  # fmt: skip
from engine.data.kept import keep_for_runs, kept_version, needed_by, sweep_kept, versions_at
from engine.data.names import checked_name, folded, free_name, name_problem
from engine.data.previewing import preview_of
from engine.data.readers import sources_of
from engine.data.reread import all_items, issue_of, stored_issues
from engine.data.shapes import REASONS, Shape, with_roles
from engine.data.sources import Source
from engine.data.split_names import COLUMN as SPLIT
from engine.data.split_names import TEST, TRAIN, VALIDATION
from engine.data.staging import PART, Staging, forget_undo, mend_swaps, needs_mending, swap, undo_of
from engine.errors import UserError
from engine.home import Home
from engine.messages import DataPreview, DatasetInfo, ImportReport, RowIssue

REPORTED_ISSUES = 200_000  # what a caller in this process is given; a window gets fewer
TRASH_PREFIX = "data-"
ChangeItems = Callable[[Iterator[Numbered], Dataset, ExampleMaker], Iterator[Numbered]]


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where rows came from that were fetched: its id with the version, the licence it names, and what it is called."""

    id: str
    licence: str
    title: str


class DataLibrary:
    """The one public face of stored data. Safe to use from several processes: changes hold a lock."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._root = home.data
        if needs_mending(self._root):
            with self._lock():
                mend_swaps(self._root)

    # ---------------------------------------------------------------------------------------- reading

    def list(self) -> Sequence[DatasetInfo]:
        """All data sets, the newest first."""
        cards = [read_card(folder) for folder in self._root.glob("*") if not folder.name.startswith(".")]
        return sorted(
            (card for card in cards if card), key=lambda card: (card.created_utc, card.name), reverse=True
        )

    def info(self, name: str) -> DatasetInfo:
        """Raises UserError "data-not-found"."""
        card = read_card(self._root / name) if not name_problem(name) else None
        if card is None:
            raise UserError(
                "data-not-found",
                "There is no data set {data!r}. Import one with: python main.py data import FILE --name N",
                data=name,
            )  # fmt: skip
        return card

    def open(self, name: str) -> Dataset:
        """A data set for reading. Raises UserError "data-not-found"."""
        info = self.info(name)
        return Dataset(self._root / info.name, info)

    def folder(self, name: str) -> Path:
        """Where a data set lies. Raises UserError "data-not-found"."""
        return self._root / self.info(name).name

    def open_version(self, name: str, hash: str) -> Dataset | None:
        """The version with that content hash, as far as it is kept: the present one, the original, or one that
        runs were made from, also of a data set that was renamed or deleted; None if it is gone.

        Raises UserError "data-not-found" if there is neither a data set of that name nor such a version.
        """
        found = self._version(name, hash)
        if found is not None:
            folder, card = found
            return Dataset(folder, dataclasses.replace(card, name=name))
        self.info(name)
        return None

    def _original(self, name: str) -> Dataset:
        from engine.data.steps.versions import original_of

        return original_of(self.folder(name), self.info(name))

    def _version(self, name: str, hash: str) -> tuple[Path, DatasetInfo] | None:
        there = sorted(self.list(), key=lambda info: info.name != name)
        for info in there:
            for folder, card in versions_at(self._root / info.name, info):
                if card.hash == hash:
                    return folder, card
        return kept_version(self._home, hash)

    def runs_of(self, name: str) -> tuple[str, ...]:
        """The names of the runs that were made from a version of this data set: what they need is kept when it is
        deleted. Raises UserError "data-not-found"."""
        return needed_by(self._home, self.folder(name), self.info(name))

    def issues(self, name: str, offset: int = 0, count: int | None = None) -> Sequence[RowIssue]:
        """The rows that were left out and why, in the order of the files."""
        self.info(name)
        stop = None if count is None else offset + count
        return list(map(issue_of, islice(stored_issues(self._root / name), offset, stop)))

    def preview(self, paths: Sequence[str | Path], num_rows: int = 50, *, text_unit: str = "") -> DataPreview:
        """What an import would make of the first rows of the first file; keeps nothing.

        Where no shape is found, `info.shape` is "" and every role is ignore.
        """
        sources, skipped = sources_of(paths, text_unit)
        return preview_of(sources, skipped, num_rows, {card.name for card in self.list()})

    # --------------------------------------------------------------------------------------- changing

    def import_files(
        self,
        paths: Sequence[str | Path],
        name: str,
        *,
        roles: Mapping[str, str] | None = None,
        task: str = "",
        text_unit: str = "",
        progress: OnProgress | None = None,
        check: Callable[[], None] | None = None,
    ) -> ImportReport:
        """Read files into a new data set. All or nothing.

        Args:
            roles: {column: role}; {role: column} is understood too where it can mean nothing else. What is
                not named keeps the role that was found, as far as it fits.
            text_unit: how plain texts are cut: "line", "paragraph" or "file"; "" chooses by the file.
            progress: called with ("reading", bytes done, bytes in all, "bytes").
            check: called now and then; what it raises ends the import and leaves nothing behind.

        Returns:
            The card, and the first 200,000 issues (`info.num_issues` counts all, `issues` reads all).
            Importing the same rows under the same name again changes nothing and returns the card that is
            there.

        Raises:
            UserError: naming what is wrong with the name, a file, the roles or all rows.
        """
        checked_name(name)
        sources, skipped = sources_of(paths, text_unit)
        return self.import_sources(
            sources, skipped, name, roles=roles, task=task, progress=progress, check=check
        )

    def import_sources(
        self,
        sources: Sequence[Source],
        skipped: Sequence[str],
        name: str,
        *,
        roles: Mapping[str, str] | None = None,
        task: str = "",
        origin: Origin | None = None,
        progress: OnProgress | None = None,
        check: Callable[[], None] | None = None,
    ) -> ImportReport:
        """As `import_files`, from files that are open already; `origin` says where they came from."""
        name = checked_name(name)
        plan = make_plan(sources, roles or {}, task)
        labels = [source.label for source in sources]
        with Staging(self._root) as folder:
            items = read_all(sources, progress, check, plan.blocks)
            info = self._fill(folder, items, plan, name=name, task=task, labels=labels)
            passed_over = [f"{source.label}: {words}" for source in sources for words in source.passed_over]
            info = dataclasses.replace(
                info, skipped=(*skipped, *passed_over), split_rows=_split_rows(folder, info)
            )
            if origin is not None:
                info = dataclasses.replace(info, origin=origin.id, licence=origin.licence, title=origin.title)
            write_card(folder, info)
            if not info.rows_kept:
                raise nothing_usable(sources, list(map(issue_of, stored_issues(folder))))
            with self._lock():
                there = self._taken(name)
                if there is None:
                    self._share_files(folder, info)
                    folder.rename(self._root / name)
                elif there.name != name or there.hash != info.hash:
                    raise self._name_taken(name)
            return self._report(name)

    def set_roles(
        self,
        name: str,
        roles: Mapping[str, str],
        *,
        progress: OnProgress | None = None,
        check: Callable[[], None] | None = None,
    ) -> ImportReport:
        """Give columns other roles: rows that no longer fit become issues, and refused ones that fit come
        back.
        """
        present = self.info(name)
        old = self._original(name).info
        shape = with_roles(Shape(old.shape, old.roles, "roles-given", {}), old.columns, roles)
        return self.rework(name, _unchanged, shape=shape, progress=progress, check=check, present=present)

    def rework(
        self,
        name: str,
        change: ChangeItems,
        *,
        shape: Shape | None = None,
        present: DatasetInfo | None = None,
        can_be_undone: bool = False,
        progress: OnProgress | None = None,
        check: Callable[[], None] | None = None,
    ) -> ImportReport:
        """Make a data set anew from all rows that were read, kept or not, as `change(items, original, maker)` gives
        them, under another shape if one is given; its steps are carried out on the result. All or nothing;
        `undo_rework` takes it back if that is wanted.

        Raises:
            UserError: "no-usable-rows", "data-changed-meanwhile", or what `change` or a step raises.
        """
        from engine.data.issue_fixes import carry_marks
        from engine.data.steps.versions import with_steps_of

        present = present or self.info(name)
        place = self.folder(name)
        dataset = self._original(name)
        old = dataset.info
        rows = list(islice(dataset.all_values(), SAMPLE_ROWS))
        kept_shape = Shape(old.shape, old.roles, reason_code(old.reason_template), old.reason_fields)
        plan = plan_of(shape or kept_shape, old.columns, rows)
        with Staging(self._root) as folder:
            items = change(all_items(place, dataset, progress, check), dataset, plan.maker())
            new = self._fill(folder, items, plan, name=name, task=old.task, labels=old.sources)
            if not new.rows_kept:
                first = issue_of(next(stored_issues(folder))).message
                raise UserError(
                    "no-usable-rows",
                    "None of the {count} rows of {files} can be used. The first: {reason} Nothing was "
                    "changed.",
                    count=new.rows_read, files=name, reason=first,
                )  # fmt: skip
            new = dataclasses.replace(
                new, created_utc=old.created_utc, title=old.title, licence=old.licence, skipped=old.skipped,
                origin=old.origin, num_skipped=carry_marks(place, folder),
                split_rows=_split_rows(folder, new),
            )  # fmt: skip
            new = with_steps_of(self._home, place, folder, present, new, progress=progress, check=check)
            write_card(folder, new)
            del dataset
            with self._lock():
                if self.info(name) != present:
                    raise _changed_meanwhile(name)
                swap(folder, place, keeps_old=can_be_undone)
        return self._report(name)

    def undo_rework(self, name: str) -> DatasetInfo:
        """Bring back what a data set was before its last rework, as long as nothing else has changed it. What runs need
        of the present version is kept.

        Raises:
            UserError: "data-not-found", "undo-gone".
        """
        with self._lock():
            place = self.folder(name)
            before = undo_of(place)
            if read_card(before, check_name=False) is None:
                raise UserError(
                    "undo-gone",
                    "There is nothing to take back in {data!r}: its rows were not mended, or it was changed otherwise "
                    "since.",
                    data=name,
                )  # fmt: skip
            keep_for_runs(self._home, place, self.info(name))
            part = before.with_name(f"{PART}{secrets.token_hex(6)}")
            before.rename(part)
            swap(part, place)
        return self.info(name)

    def mark_issues(self, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> DatasetInfo:
        """Write the issues anew, each as `change` gives it; the rows stay as they are."""
        from engine.data.issue_fixes import rewrite

        with self._lock():
            info = self.info(name)
            info = dataclasses.replace(info, num_skipped=rewrite(self.folder(name), change))
            forget_undo(self.folder(name))
            write_card(self.folder(name), info)
        return info

    def rebuild(self, name: str, fill: Callable[[Path, DatasetInfo], DatasetInfo]) -> DatasetInfo:
        """Put another version in a data set's place: `fill(folder, card)` writes all of it into a folder beside
        the old one and returns its card. All or nothing.

        Raises:
            UserError: "data-not-found", "data-changed-meanwhile", or what `fill` raises.
        """
        old = self.info(name)
        with Staging(self._root) as folder:
            info = fill(folder, old)
            write_card(folder, info)
            with self._lock():
                if self.info(name) != old:
                    raise _changed_meanwhile(name)
                swap(folder, self._root / name)
        return info

    def rename(self, name: str, new_name: str) -> DatasetInfo:
        """Raises UserError when the new name is taken or cannot be a folder's."""
        new_name = checked_name(new_name)
        with self._lock():
            info = self.info(name)
            if new_name == name:
                return info
            there = self._taken(new_name)
            if there is not None and there.name != name:
                raise self._name_taken(new_name)
            title = new_name if info.title == info.name else info.title
            forget_undo(self._root / info.name)
            (self._root / name).rename(self._root / new_name)
            renamed = dataclasses.replace(info, name=new_name, title=title)
            write_card(self._root / new_name, renamed)
        return renamed

    def delete(self, name: str) -> str:
        """Move a data set to the trash; returns the token for `restore`. What runs need of it is kept, whatever
        becomes of the trash."""
        with self._lock():
            info = self.info(name)
            sweep_kept(self._home)
            keep_for_runs(self._home, self._root / info.name, info)
            forget_undo(self._root / info.name)
            token = TRASH_PREFIX + secrets.token_hex(6)
            place = self._home.trash / token
            place.mkdir(parents=True)
            (self._root / info.name).rename(place / "item")
        return token

    def trashed(self) -> Sequence[tuple[str, DatasetInfo]]:
        """The data sets in the trash, each with the token that brings it back."""
        found = []
        for place in sorted(self._home.trash.glob(f"{TRASH_PREFIX}*")):
            card = read_card(place / "item", check_name=False)
            if card is not None and self.owns(place.name):
                found.append((place.name, card))
        return found

    def empty_trash(self) -> int:
        """Delete the data sets in the trash for good; returns their bytes. What runs need stays."""
        with self._lock():
            freed = 0
            for token, card in self.trashed():
                keep_for_runs(self._home, self._home.trash / token / "item", card)
                freed += card.num_bytes
                shutil.rmtree(self._home.trash / token)
            sweep_kept(self._home)
        return freed

    def restore(self, token: str) -> DatasetInfo:
        """Bring back what `delete` moved away, under its name or, if that is taken, one like it.

        Raises:
            UserError: "trash-not-found".
        """
        place = self._home.trash / token
        card = read_card(place / "item", check_name=False) if self.owns(token) else None
        if card is None:
            raise UserError("trash-not-found", "There is nothing in the trash under {token!r}.", token=token)
        with self._lock():
            name = free_name(card.name, {info.name for info in self.list()})
            (place / "item").rename(self._root / name)
            card = dataclasses.replace(card, name=name)
            write_card(self._root / name, card)
            shutil.rmtree(place)
        return card

    def owns(self, token: str) -> bool:
        """Whether a token of the trash is one of a data set."""
        return bool(re.fullmatch(TRASH_PREFIX + "[0-9a-f]+", token))

    # --------------------------------------------------------------------------------------- privately

    def _fill(
        self,
        folder: Path,
        items: Iterator[Numbered],
        plan: Plan,
        *,
        name: str,
        task: str,
        labels: Sequence[str],
    ) -> DatasetInfo:
        """Write a whole data set into a staging folder."""
        writer, num_read, num_issues = store(items, plan, labels, folder)
        info = describe(
            writer, plan, name=name, num_read=num_read, num_issues=num_issues, task=task, sources=labels
        )
        num_bytes = sum(path.stat().st_size for path in folder.iterdir())
        info = dataclasses.replace(info, num_bytes=num_bytes)
        write_card(folder, info)
        return info

    def _share_files(self, folder: Path, info: DatasetInfo) -> None:
        """Let data sets with the very same rows, and the same lists of what was left out, have them on the disk
        once."""
        for place, card in self._every_version():
            if card.hash == info.hash and share(place / ROWS, folder / ROWS):
                for file in (ISSUES, REFUSED):
                    share(place / file, folder / file)
                return

    def _every_version(self) -> Iterator[tuple[Path, DatasetInfo]]:
        """Of all data sets, those in the trash included."""
        for info in self.list():
            yield from versions_at(self._root / info.name, info)
        for token, card in self.trashed():
            yield from versions_at(self._home.trash / token / "item", card)

    def _report(self, name: str) -> ImportReport:
        return ImportReport(self.info(name), tuple(self.issues(name, 0, REPORTED_ISSUES)))

    def _taken(self, name: str) -> DatasetInfo | None:
        """The data set whose name this is, on a disk that may not tell upper from lower case."""
        return next((info for info in self.list() if folded(info.name) == folded(name)), None)

    def _name_taken(self, name: str) -> UserError:
        other = free_name(name, {info.name for info in self.list()})
        return UserError(
            "name-taken",
            "There is a data set {data!r} already, with other rows. Take another name, such as {other!r}. "
            "Nothing was imported.",
            data=name, other=other,
        )  # fmt: skip

    def _lock(self) -> filelock.BaseFileLock:
        self._root.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(self._root / ".lock", timeout=60)


def _split_rows(folder: Path, info: DatasetInfo) -> dict[str, int]:
    """How many rows each split has, as the column `split` says of every row; {} where it says something else."""
    if SPLIT not in info.columns:
        return {}
    counts = Counter(cell or "" for cell in Dataset(folder, info).cells(SPLIT))
    return dict(counts) if TRAIN in counts and set(counts) <= {TRAIN, VALIDATION, TEST} else {}


def _unchanged(items: Iterator[Numbered], original: Dataset, maker: ExampleMaker) -> Iterator[Numbered]:
    return items


def reason_code(template: str) -> str:
    """The code of the reason that a card gives; the roles were given where another version wrote it."""
    return next((code for code, known in REASONS.items() if known == template), "roles-given")


def _changed_meanwhile(name: str) -> UserError:
    return UserError(
        "data-changed-meanwhile",
        "Data set {data!r} was changed by something else in the meantime. Nothing was changed; try again.",
        data=name,
    )
