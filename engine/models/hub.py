"""Models and data sets from a hub, through huggingface_hub: which files, how far, and every refusal as a sentence.

The download runs as a child (`python -m engine.models.hub PLAN`), so that it can be cancelled at any moment and so
that its
threads end with it. Which hub is asked is huggingface_hub's own setting (HF_ENDPOINT, HF_TOKEN, its login):
no host is named here. Knows nothing of the library.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.models.folder import PICKLES, WANTED, Progress
from engine.processes import child_command, child_environment, explain_exit
from engine.supervised import disk_full, is_disk_full, require_space, run_child

ORDER_NAME = "hub.order.json"
PLAN_NAME = "hub.plan.json"
OUTCOME_NAME = "hub.json"
LOG_NAME = "hub.log"
FOLDER_NAME = "model"
REPO_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class HubPlan:
    """What will be fetched: the commit that the revision stands for now, and the files with their sizes.

    Of a data set also what is known of its files: the split of each, what was passed over, the subset that is meant
    and those there are.
    """

    commit: str
    num_bytes: int
    files: tuple[str, ...]
    sha256: dict[str, str]
    licence: str
    languages: tuple[str, ...]
    splits: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    subset: str = ""
    subsets: tuple[str, ...] = ()


@dataclass(frozen=True)
class HubDownload:
    folder: Path
    commit: str
    licence: str
    languages: tuple[str, ...]


def download_model(
    repo_id: str, revision: str, staging: Path, progress: Progress, check: Callable[[], None]
) -> HubDownload:
    """Fetch a model's safetensors, configuration and tokenizer into `staging / "model"`, each file whole.

    `progress` gets "downloading" by bytes. Pickles and programs are never fetched.

    Raises:
        UserError: "hub-name", "hub-not-found", "hub-gated", "hub-offline", "hub-no-safetensors",
        "hub-refused",
            "disk-full".
        Cancelled: from `progress` or `check`; the child is killed.
    """
    if not REPO_NAME.fullmatch(repo_id):
        raise UserError(
            "hub-name", "{name!r} is not a model's name on a hub. It looks like owner/model.", name=repo_id
        )
    order = {"kind": "model", "repo_id": repo_id, "revision": revision or "main"}
    plan = run_order(order, staging, progress, check)
    return HubDownload(staging / FOLDER_NAME, plan.commit, plan.licence, tuple(plan.languages))


def run_order(order: dict[str, Any], staging: Path, progress: Progress, check: Callable[[], None]) -> HubPlan:
    """Let the child plan and fetch what `order` names into `staging / FOLDER_NAME`; with "only_plan" it only plans.

    Raises what `download_model` does.
    """
    folder = staging / FOLDER_NAME
    (staging / ORDER_NAME).write_text(json.dumps(order | {"folder": str(folder)}), encoding="utf-8")
    plan: HubPlan | None = None
    progress("downloading", 0, 0, "bytes")

    def watch() -> None:
        nonlocal plan
        check()
        if plan is None and (staging / PLAN_NAME).exists():
            plan = _read_plan(staging)
            require_space(staging, plan.num_bytes if not order.get("only_plan") else 0)
        if plan is not None:
            progress("downloading", min(_bytes_below(folder), plan.num_bytes), plan.num_bytes, "bytes")

    code = run_child(
        child_command("engine.models.hub", str(staging / ORDER_NAME)),
        folder=staging, log=staging / LOG_NAME, watch=watch,
        environment=child_environment() | {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"},
    )  # fmt: skip
    _raise_refusal(staging, order["repo_id"], code)
    return plan or _read_plan(staging)


def _read_plan(staging: Path) -> HubPlan:
    value: dict[str, Any] = json.loads((staging / PLAN_NAME).read_text(encoding="utf-8"))
    fields: dict[str, Any] = {
        key: tuple(item) if isinstance(item, list) else item for key, item in value.items()
    }
    return HubPlan(**fields)


def _bytes_below(folder: Path) -> int:
    """Bytes of all files below, parts included; files are renamed while this looks."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total


def _raise_refusal(staging: Path, repo_id: str, code: int) -> None:
    outcome = staging / OUTCOME_NAME
    if not outcome.exists():
        tail = (staging / LOG_NAME).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise _refused(repo_id, f"{explain_exit(code)} {' '.join(tail)}".strip())
    refusal = json.loads(outcome.read_text(encoding="utf-8"))
    if refusal:
        raise UserError(refusal["code"], refusal["template"], **refusal["fields"])


def _refused(repo_id: str, reason: str) -> UserError:
    return UserError(
        "hub-refused",
        "{name} could not be fetched: {reason} Nothing was kept; try again.",
        name=repo_id,
        reason=reason if reason.endswith((".", "。")) else reason + ".",
    )


# ------------------------------------------------------------------------------------------ in the child


def _fetch(order: dict[str, Any]) -> None:
    """The child's work: ask, write the plan, download exactly its files, check them."""
    from huggingface_hub import HfApi, snapshot_download

    repo_id, folder = order["repo_id"], Path(order["folder"])
    if order["kind"] == "dataset":
        from engine.data.hub_data import plan_data

        found = HfApi().dataset_info(repo_id, revision=order["revision"], files_metadata=True)
        plan = plan_data(repo_id, found, order["subset"])
    else:
        plan = plan_download(
            repo_id, HfApi().model_info(repo_id, revision=order["revision"], files_metadata=True)
        )
    part = folder.with_name(PLAN_NAME + ".part")
    part.write_text(json.dumps(asdict(plan)), encoding="utf-8")
    part.replace(folder.with_name(PLAN_NAME))
    if order.get("only_plan"):
        return
    patterns = [glob.escape(name) for name in plan.files]
    snapshot_download(
        repo_id, repo_type=order["kind"], revision=plan.commit, local_dir=folder, allow_patterns=patterns,
        max_workers=4,
    )  # fmt: skip
    _check(repo_id, folder, plan)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # huggingface_hub's notes about the download


def plan_download(repo_id: str, info: Any) -> HubPlan:
    """Which files of a repository (a huggingface_hub ModelInfo with file metadata) make the model.

    Raises:
        UserError: "hub-no-safetensors".
    """
    sizes = {item.rfilename: item.size or 0 for item in info.siblings or []}
    wanted = {name for name in sizes if "/" not in name and WANTED.fullmatch(name)}
    weights = {name for name in wanted if name.endswith(".safetensors")}
    if not weights:
        raise _no_safetensors(repo_id, list(sizes))
    if "model.safetensors" in weights or any(name.endswith(".index.json") for name in wanted):
        shards = {name for name in weights if re.fullmatch(r"model(-\d+-of-\d+)?\.safetensors", name)}
        wanted -= weights - (shards or weights)
    card = info.card_data.to_dict() if info.card_data else {}
    language = card.get("language") or ()
    return HubPlan(
        commit=info.sha,
        num_bytes=sum(sizes[name] for name in wanted),
        files=tuple(sorted(wanted)),
        sha256=sums_of(info, wanted),
        licence=str(card.get("license") or ""),
        languages=tuple([language] if isinstance(language, str) else language),
    )


def sums_of(info: Any, wanted: Collection[str]) -> dict[str, str]:
    """The sha256 of the wanted files, as far as the hub names them."""
    return {
        item.rfilename: item.lfs.sha256
        for item in info.siblings or []
        if item.lfs and item.rfilename in wanted
    }


def _no_safetensors(repo_id: str, names: list[str]) -> UserError:
    ggufs = [name for name in names if name.lower().endswith(".gguf")]
    if ggufs:
        return UserError(
            "hub-only-gguf",
            "{name} holds GGUF files only ({file} and others). Download one of them and add that file.",
            name=repo_id, file=ggufs[0],
        )  # fmt: skip
    pickles = [name for name in names if name.lower().endswith(PICKLES)]
    return UserError(
        "hub-no-safetensors",
        "{name} has no safetensors weights (it has {found}). Other formats can run programs when they are "
        "opened and are "
        "not fetched. Look for a safetensors version of it.",
        name=repo_id, found=", ".join((pickles or names)[:3]) or "-",
    )  # fmt: skip


def _check(repo_id: str, folder: Path, plan: HubPlan) -> None:
    """Every file of the plan is there, with the size and, where the hub names one, the sha256."""
    for name in plan.files:
        path = folder / name
        if not path.is_file():
            raise _refused(repo_id, f"{name} did not arrive")
        if name in plan.sha256:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != plan.sha256[name]:
                    raise _refused(repo_id, f"{name} arrived damaged")


def _as_sentence(error: Exception, order: dict[str, Any]) -> UserError:
    """What huggingface_hub raised, as a sentence. Looks along the chain of causes, since it wraps them."""
    from huggingface_hub import errors

    chain = _causes(error)
    own = [cause for cause in chain if isinstance(cause, UserError)]
    if own:
        return own[0]
    if any(isinstance(cause, OSError) and is_disk_full(cause) for cause in chain):
        return _disk_full(Path(order["folder"]).parent)
    fields = {"name": order["repo_id"], "revision": order["revision"], "reason": _first_line(chain[-1])}
    known: tuple[tuple[type[Exception], str, str], ...] = (  # the more special class first
        (errors.GatedRepoError, "hub-gated", GATED),
        (errors.RevisionNotFoundError, "hub-no-revision", NO_REVISION),
        (
            errors.RepositoryNotFoundError, "hub-not-found",
            NO_DATA if order["kind"] == "dataset" else NOT_FOUND,
        ),
    )  # fmt: skip
    for kind, code, template in known:
        if any(isinstance(cause, kind) for cause in chain):
            return UserError(code, template, **fields)
    if any(_is_offline(cause) for cause in chain):
        return UserError("hub-offline", OFFLINE, **fields)
    return _refused(order["repo_id"], _first_line(chain[0]))


GATED = (
    "{name} asks for its terms to be accepted first. Accept them on its page, sign in with `hf auth login` "
    "(or set HF_TOKEN), then try again."
)
NO_REVISION = "{name} has no revision {revision!r}. Try main."
NOT_FOUND = (
    "The hub has no model {name!r}, or it is private. Check the spelling; for a private one sign in with "
    "`hf auth login` (or set HF_TOKEN)."
)
NO_DATA = (
    "The hub has no data set {name!r}, or it is private. Check the spelling; for a private one sign in with "
    "`hf auth login` (or set HF_TOKEN)."
)
OFFLINE = (
    "The hub could not be reached, so {name} was not fetched. Check the connection (HF_ENDPOINT sets another "
    "hub) and try again; nothing was kept. Reason: {reason}"
)


def _disk_full(staging: Path) -> UserError:
    plan = staging / PLAN_NAME
    needed = json.loads(plan.read_text(encoding="utf-8"))["num_bytes"] if plan.exists() else 0
    return disk_full(staging, free=shutil.disk_usage(staging).free, needed=needed)


def _is_offline(error: BaseException) -> bool:
    """Whether the network failed. The HTTP library under huggingface_hub changes its name between versions;
    the name of the class for this does not."""
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled | ConnectionError | TimeoutError):
        return True
    return any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in chain:
        chain.append(step)
        step = step.__cause__ or step.__context__
    return chain


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def main(arguments: list[str]) -> int:
    """`python -m engine.models.hub ORDER`: the outcome stands in hub.json beside the order."""
    place = Path(arguments[0])
    order = json.loads(place.read_text(encoding="utf-8"))
    outcome: dict[str, Any] = {}
    try:
        _fetch(order)
    except Exception as error:  # noqa: BLE001 - whatever a hub or the network does, the user reads the reason
        refusal = _as_sentence(error, order)
        outcome = {"code": refusal.code, "template": refusal.template, "fields": refusal.fields}
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    part = place.with_name(OUTCOME_NAME + ".part")
    part.write_text(json.dumps(outcome, ensure_ascii=False), encoding="utf-8")
    part.replace(place.with_name(OUTCOME_NAME))
    return 1 if outcome else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
