"""Data sets from a hub by their id: which files, which splits, how large, under which licence; then the import.

What asks and downloads is `engine.models.hub`; what reads the files is the import that reads every file. Fetched files
are gone at the end: rows are kept once.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from engine.data.archives import BESIDE, TAR_NAMES, WORDS_BESIDE
from engine.data.library import DataLibrary, Origin
from engine.data.readers import READERS, sources_of
from engine.data.sources import Source, data_suffix
from engine.data.split_names import split_of, split_word
from engine.errors import UserError
from engine.home import Home
from engine.messages import HubDataInfo, ImportHubData, ImportReport
from engine.models.hub import FOLDER_NAME, REPO_NAME, HubPlan, run_order, sums_of
from engine.supervised import Staging

OnProgress = Callable[[str, int, int, str], None]
Check = Callable[[], None]
PREFIX = "hub:"
# Where a data set lies in several formats it is the same rows again: the first of these that is there is taken.
FAMILIES = (
    (".parquet",), (".arrow", ".feather"), (".jsonl", ".ndjson"), (".json",), (".csv", ".tsv", ".tab"),
    (".xlsx", ".xls", ".ods"), (".po", ".mo", ".tmx", ".yml", ".yaml"), (".txt", ".text", ".md"), (".zip", ".tar"),
)  # fmt: skip


def look_up(
    home: Home, repo_id: str, revision: str = "main", subset: str = "", check: Check = lambda: None
) -> HubDataInfo:
    """What the data set holds, before anything of it is fetched.

    Raises:
        UserError: "hub-data-name", "hub-not-found", "hub-no-revision", "hub-gated", "hub-offline", "hub-no-data",
            "hub-no-subset", "hub-refused".
    """
    with Staging(home.downloads, _staging_name(repo_id) + "-look") as staging:
        plan = run_order(
            _order(repo_id, revision, subset) | {"only_plan": True}, staging, _tell_nobody, check
        )  # fmt: skip
    return HubDataInfo(
        repo_id, plan.commit, plan.num_bytes, plan.licence, plan.files, plan.splits, plan.skipped, plan.subset,
        plan.subsets,
    )  # fmt: skip


def import_hub_data(
    home: Home, request: ImportHubData, progress: OnProgress | None = None, check: Check | None = None
) -> ImportReport:
    """Fetch the data set's files and make a data set of the home from them. All or nothing.

    Splits that the files' names say become the column `split`.

    Raises:
        UserError: what `look_up` raises, "disk-full", or what is wrong with the rows.
    """
    library, check = DataLibrary(home), check or (lambda: None)
    with Staging(home.downloads, _staging_name(request.repo_id)) as staging:
        order = _order(request.repo_id, request.revision, request.subset)
        plan = run_order(order, staging, progress or _tell_nobody, check)
        sources = _sources(staging / FOLDER_NAME, plan)
        origin = Origin(f"{PREFIX}{request.repo_id}@{plan.commit}", plan.licence, request.repo_id)
        return library.import_sources(
            sources, plan.skipped, request.name, roles=request.roles, task=request.task, origin=origin,
            progress=progress, check=check,
        )  # fmt: skip


def split_id(text: str) -> tuple[str, str]:
    """The id and revision of hub:owner/name@revision."""
    repo_id, _, revision = text.removeprefix(PREFIX).partition("@")
    return repo_id, revision or "main"


def plan_data(repo_id: str, info: Any, subset: str) -> HubPlan:
    """Which files of a repository (a huggingface_hub DatasetInfo with file metadata) hold the rows, and their splits.

    Raises:
        UserError: "hub-no-data", "hub-no-subset".
    """
    sizes = {item.rfilename: item.size or 0 for item in info.siblings or []}
    card = info.card_data.to_dict() if info.card_data else {}
    subsets = _subsets(card, sizes)
    if subset and subset not in subsets:
        raise UserError(
            "hub-no-subset", "{name} has no subset {subset!r}. It has: {known}.", name=repo_id, subset=subset,
            known=", ".join(list(subsets)[:20]) or "-",
        )  # fmt: skip
    chosen = subset or next(iter(subsets), "")
    files = subsets.get(chosen, {})
    if not files:
        raise UserError(
            "hub-no-data",
            "{name} holds no file that can be read (it has {found}). Expected Parquet, JSON, CSV or another format "
            "of the import.",
            name=repo_id, found=", ".join(list(sizes)[:3]) or "-",
        )  # fmt: skip
    names = sorted(files, key=lambda name: (_ORDER.get(files[name], 0), name))
    licence = card.get("license") or ""
    return HubPlan(
        commit=info.sha, num_bytes=sum(sizes[name] for name in names), files=tuple(names),
        sha256=sums_of(info, names),
        licence=", ".join(licence) if isinstance(licence, list) else str(licence), languages=(),
        splits=tuple(files[name] for name in names),
        skipped=tuple(name for name in sorted(sizes) if name not in files and not name.startswith(".")),
        subset=chosen, subsets=tuple(subsets),
    )  # fmt: skip


_ORDER = {"train": 0, "validation": 1, "test": 2}


def _subsets(card: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, dict[str, str]]:
    """{subset: {file: split}}, the one that is meant by default first; one without a name where there is one only."""
    declared = _declared(card.get("configs"), list(sizes))
    if declared:
        return declared
    files = _of_one_format([name for name in sizes if sizes[name] and _is_readable(name)])
    by_folder: dict[str, list[str]] = {}
    for name in files:
        parts = [part for part in PurePosixPath(name).parts[:-1] if part != "data" and not split_word(part)]
        by_folder.setdefault("/".join(parts), []).append(name)
    is_parted = len(by_folder) > 1 and "" not in by_folder
    groups = by_folder if is_parted else {"": files}
    return {group: {name: split_of(name) for name in names} for group, names in groups.items() if names}


def _declared(configs: Any, names: list[str]) -> dict[str, dict[str, str]]:
    """The subsets that the card declares, as `datasets` reads them."""
    found: dict[str, dict[str, str]] = {}
    entries = [entry for entry in configs or () if isinstance(entry, dict)]
    entries.sort(key=lambda entry: not (entry.get("default") or entry.get("config_name") == "default"))
    for entry in entries:
        files: dict[str, str] = {}
        for split, patterns in _patterns(entry.get("data_files")):
            for pattern in patterns:
                for name in fnmatch.filter(names, str(pattern).removeprefix("./")):
                    if _is_readable(name):
                        files.setdefault(name, split_word(split) or split_of(name))
        kept = _of_one_format(list(files))
        if kept:
            found[str(entry.get("config_name") or "")] = {name: files[name] for name in kept}
    return found


def _patterns(value: Any) -> Iterable[tuple[str, list[Any]]]:
    """(split, patterns) of what stands under data_files: a text, a list, or objects with split and path."""
    if isinstance(value, str):
        yield "", [value]
    elif isinstance(value, dict):
        yield from ((str(split), _as_list(paths)) for split, paths in value.items())
    else:
        for item in value or ():
            if isinstance(item, dict):
                yield str(item.get("split") or ""), _as_list(item.get("path"))
            else:
                yield "", [item]


def _as_list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value or ())


def _is_readable(name: str) -> bool:
    place = PurePosixPath(name)
    if any(part.startswith(".") for part in place.parts) or place.name.lower() in BESIDE:
        return False
    return place.stem.lower().split(".")[0] not in WORDS_BESIDE and bool(_family(name))


def _family(name: str) -> tuple[str, ...]:
    suffix = ".tar" if name.lower().endswith(TAR_NAMES) else data_suffix(name)
    return next((family for family in FAMILIES if suffix in family), ())


def _of_one_format(names: list[str]) -> list[str]:
    families = {_family(name) for name in names}
    best = next((family for family in FAMILIES if family in families), ())
    return [name for name in names if _family(name) == best]


def _sources(folder: Path, plan: HubPlan) -> list[Source]:
    """The fetched files, called as on the hub; each row gets its file's split where there is more than one."""
    has_splits = len(set(plan.splits)) > 1
    found = []
    for name, split in zip(plan.files, plan.splits, strict=True):
        path = folder / name
        sources, _ = sources_of([path])
        for source in sources:
            inside = source.label.removeprefix(path.name) if source.is_member else ""
            source.label = name + inside
            if has_splits:
                source.columns = source.columns | {"split": split or "train"}
        found += sources
    return found


def _order(repo_id: str, revision: str, subset: str) -> dict[str, Any]:
    if not REPO_NAME.fullmatch(repo_id):
        raise UserError(
            "hub-data-name",
            "{name!r} is not a data set's name on a hub. It looks like owner/name.",
            name=repo_id,
        )
    return {"kind": "dataset", "repo_id": repo_id, "revision": revision or "main", "subset": subset}


def _staging_name(repo_id: str) -> str:
    return "data-" + re.sub(r"[^\w.-]+", "-", repo_id)[:80]


def _tell_nobody(phase: str, done: int, total: int, unit: str = "") -> None:
    """Where nobody wants to know how far it is."""


assert set(READERS) >= {suffix for family in FAMILIES[:-1] for suffix in family}
