"""What a model on disk is: its files, what their headers say, and the card that is kept beside them.

Owns the reading of safetensors headers, the check that a folder is whole, the sha256 manifest and
`model.json`. Knows nothing of libraries, downloads or requests. No torch: a list of models is answered
without it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.journal import utc_now
from engine.messages import ModelInfo, from_json, to_json
from engine.recipe import kind_of_config

Progress = Callable[[str, int, int, str], None]
"""Called with phase, done, total, unit; it may raise Cancelled."""

CARD_NAME = "model.json"
PIECE_BYTES = 1 << 20

# What a model needs; everything else (pickles, programs, other frameworks' weights) stays outside.
WANTED = re.compile(
    r"(.*\.safetensors|.*\.safetensors\.index\.json|(?!model\.json$)[\w.-]+\.json|.*\.jinja|vocab\.txt|merges\.txt"
    r"|.*\.(model|spm|bpe)|(LICEN[CS]E|NOTICE|COPYING)[\w.-]*|README\.md)",
    re.IGNORECASE,
)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".pt2", ".h5", ".msgpack")
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


def no_progress(phase: str, done: int, total: int, unit: str) -> None:
    """For callers that watch nothing."""


# ------------------------------------------------------------------------------------------ looking inside


def wanted_files(folder: Path) -> list[Path]:
    """The files at the top of a folder that belong to a model, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.is_file() and WANTED.fullmatch(path.name))


def read_header(path: Path) -> dict[str, dict[str, Any]]:
    """The tensors of a safetensors file by name, each with dtype, shape and data_offsets; no weight is read.

    Raises:
        UserError: "weights-broken" if the file is cut off or is something else.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size, 100_000_000):
                raise ValueError("its header would be longer than the file")
            header: dict[str, Any] = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        if 8 + length + end != size:
            raise ValueError(f"{8 + length + end} bytes were announced and {size} are there")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error) as wrong:
        raise UserError(
            "weights-broken",
            "{file} is not a whole safetensors file: {reason}. Copy or download it again.",
            file=path.name, reason=str(wrong),
        ) from wrong  # fmt: skip
    return header


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make the model, in order.

    Raises:
        UserError: "weights-pickled", "weights-missing" or "weights-incomplete".
    """
    for index in sorted(folder.glob("*.safetensors.index.json")):
        names = sorted(set(_read_json(index).get("weight_map", {}).values()))
        missing = [name for name in names if not (folder / Path(name).name).is_file()]
        if missing:
            raise UserError(
                "weights-incomplete",
                "{folder} names {total} weight files and {count} of them are missing, {first} first. Copy or "
                "download the whole folder.",
                folder=str(folder), total=len(names), count=len(missing), first=missing[0],
            )  # fmt: skip
        return [folder / Path(name).name for name in names]
    found = sorted(folder.glob("*.safetensors"))
    whole = [path for path in found if path.name == "model.safetensors"] or found
    if whole:
        return whole
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICKLES)
    if pickles:
        raise UserError(
            "weights-pickled",
            "{folder} holds its weights as {file}, a format that can run any program when it is opened; it "
            "was "
            "not opened. Look for the same model as safetensors.",
            folder=str(folder), file=pickles[0],
        )  # fmt: skip
    raise UserError(
        "weights-missing",
        "{folder} has no *.safetensors file. Choose the folder that holds config.json and the weights.",
        folder=str(folder),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder.

    Raises:
        UserError: "config-missing", "config-broken" or "adapter-alone".
    """
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        raise UserError(
            "adapter-alone",
            "{folder} holds an adapter without its base model. Merge it into its base, or add the base.",
            folder=str(folder),
        )
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(
            "config-missing",
            "{folder} has no config.json, which says what kind of model it is. Choose the folder with it.",
            folder=str(folder),
        )
    config = _read_json(path)
    if not isinstance(config.get("model_type"), str):
        raise UserError(
            "config-broken",
            "{file} cannot be used: {reason}. Copy or download it again.",
            file=path.name, reason="model_type is missing",
        )  # fmt: skip
    return config


def describe(
    folder: Path, *, id: str, title: str, source: str, licence: str = "", languages: tuple[str, ...] = ()
) -> ModelInfo:
    """Check that a folder holds a whole model and say what it is, from its headers alone.

    Raises:
        UserError: what is missing or broken, by name; see `read_config`, `weight_files`, `read_header`.
    """
    config = read_config(folder)
    tensors = [tensor for path in weight_files(folder) for tensor in read_header(path).values()]
    sizes = [math.prod(tensor["shape"]) for tensor in tensors if tensor["dtype"] in FLOATS]
    text = config.get("text_config") or config
    return ModelInfo(
        id=id,
        title=title,
        kind=kind_of_config(config),
        architecture=(config.get("architectures") or [config["model_type"]])[0],
        num_parameters=sum(sizes),
        num_bytes=sum(
            path.stat().st_size for path in folder.iterdir() if path.is_file() and path.name != CARD_NAME
        ),
        vocabulary_size=int(text.get("vocab_size") or 0),
        context_length=_context_length(text),
        licence=licence or _licence(folder),
        source=source,
        path=str(folder),
        has_chat_template=_has_chat_template(folder),
        languages=languages,
        created_utc=utc_now(),
    )


def _context_length(config: dict[str, Any]) -> int:
    """Tokens that the model was made for; 0 where the configuration does not say."""
    for key in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        if isinstance(config.get(key), int):
            return int(config[key])
    return 0


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").exists() or (folder / "chat_template.json").exists():
        return True
    path = folder / "tokenizer_config.json"
    return path.exists() and bool(_read_json(path).get("chat_template"))


def _licence(folder: Path) -> str:
    """What the model card's head says, which is what hubs show; empty if it says nothing."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    head = card.read_text(encoding="utf-8", errors="replace")[:4000]
    match = re.search(r"\A---\n.*?^license(?:_name)?:\s*['\"]?([\w.+-]+)", head, re.DOTALL | re.MULTILINE)
    return match[1] if match else ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, UnicodeDecodeError) as wrong:
        value, reason = None, str(wrong)
    else:
        reason = "a JSON object was expected"
    if not isinstance(value, dict):
        raise UserError(
            "config-broken",
            "{file} cannot be used: {reason}. Copy or download it again.",
            file=path.name, reason=reason,
        )  # fmt: skip
    return value


# ------------------------------------------------------------------------------------ the card, the manifest


def manifest(folder: Path, progress: Progress = no_progress) -> dict[str, dict[str, Any]]:
    """{name: {sha256, num_bytes}} of every file but the card; tells "checking" by bytes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CARD_NAME)
    total, done, files = sum(path.stat().st_size for path in paths), 0, {}
    for path in paths:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
                done += len(piece)
                progress("checking", done, total, "bytes")
        name = path.relative_to(folder).as_posix()
        files[name] = {"sha256": digest.hexdigest(), "num_bytes": path.stat().st_size}
    return files


def write_card(folder: Path, info: ModelInfo, progress: Progress = no_progress) -> ModelInfo:
    """Write `model.json`: what the model is, and the sha256 of each file.

    Its path is not kept, so that a home can be moved.
    """
    files = manifest(folder, progress)
    card = to_json(info) | {"num_bytes": sum(file["num_bytes"] for file in files.values()), "files": files}
    for key in ("type", "path"):
        del card[key]
    part = folder / (CARD_NAME + ".part")
    part.write_text(json.dumps(card, ensure_ascii=False, indent=1), encoding="utf-8")
    part.replace(folder / CARD_NAME)
    return read_card(folder)


def read_card(folder: Path) -> ModelInfo:
    """The model of a folder that has a card.

    Raises:
        UserError: "model-card-broken".
        FileNotFoundError: if there is no card.
    """
    text = (folder / CARD_NAME).read_text(encoding="utf-8")
    try:
        card = json.loads(text) | {"type": "ModelInfo", "id": folder.name, "path": str(folder)}
        info: ModelInfo = from_json(card)
    except (ValueError, TypeError, KeyError) as wrong:
        raise UserError(
            "model-card-broken",
            "{file} cannot be read: {reason}. Delete the model and get it again.",
            file=str(folder / CARD_NAME), reason=str(wrong),
        ) from wrong  # fmt: skip
    return info


def changed_files(folder: Path, progress: Progress = no_progress) -> list[str]:
    """Names of files that are no longer what the card's manifest says, or are gone."""
    kept = _read_json(folder / CARD_NAME).get("files", {})
    now = manifest(folder, progress)
    return sorted(name for name, file in kept.items() if now.get(name) != file)


# -------------------------------------------------------------------------------------------- all or nothing


def commit_folder(staging: Path, target: Path) -> None:
    """Make a finished staging folder the model folder: its files reach the disk, then one rename."""
    for path in staging.rglob("*"):
        if path.is_file():
            _sync(path, os.O_RDWR)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging.rename(target)
    if os.name == "posix":
        _sync(target.parent, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
