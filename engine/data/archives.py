"""Folders, ZIP and TAR archives as the files within them. Nothing is unpacked to the disk, so nothing can leave it.

What a folder or an archive holds besides data (licences, pictures, hidden files) is passed over and named.
"""

from __future__ import annotations

import functools
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from engine.data.sources import FREE_BYTES, MAX_RATIO, Source, bomb, data_suffix
from engine.data.sources import readable as readable_text
from engine.data.split_names import split_word
from engine.errors import UserError

MAX_MEMBERS = 20_000
SHOWN_SKIPPED = 5
TAR_NAMES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz")
TEXTS = (".txt", ".md", ".text")
# What lies beside data: the cards of `datasets` folders, and words about the data.
BESIDE = (
    "dataset_info.json",
    "dataset_infos.json",
    "state.json",
    "dataset_dict.json",
    "package.json",
    "manifest.json",
)
WORDS_BESIDE = ("license", "licence", "readme", "copying", "notice", "changelog", "authors")
# File names that are labels by themselves.
LABEL_NAMES = {
    "pos",
    "neg",
    "positive",
    "negative",
    "neutral",
    "spam",
    "ham",
    "正面",
    "负面",
    "中性",
    "好评",
    "差评",
}


@dataclass
class Contents:
    """The data within a folder or an archive, and what was passed over, each with the reason."""

    sources: list[Source] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Member:
    """A file within. `opener` gives its content; no content is held."""

    name: str
    num_bytes: int
    opener: Callable[[], BinaryIO] | None = None
    path: Path | None = None


def is_archive(path: Path, head: bytes) -> bool:
    name = path.name.lower()
    return path.suffix.lower() != ".xlsx" and (
        head.startswith(b"PK\x03\x04") or name.endswith(TAR_NAMES) or head[257:262] == b"ustar"
    )


def contents_of(path: Path, readable: tuple[str, ...]) -> Contents:
    """The data files in a folder or an archive, in the order of their names.

    Raises:
        UserError: "archive-empty", "archive-bomb", "archive-broken", "archive-locked" or "archive-too-many".
    """
    found = Contents()
    if path.is_dir():
        members = list(_folder_members(path, found))
    elif zipfile.is_zipfile(path):
        members = list(_zip_members(path, found))
    else:
        members = list(_tar_members(path, found))
    if len(members) > MAX_MEMBERS:
        raise UserError(
            "archive-too-many", "{file} holds more than {limit} files. Join them into fewer. Nothing was imported.",
            file=path.name, limit=MAX_MEMBERS,
        )  # fmt: skip
    data = [
        member
        for member in sorted(members, key=lambda member: member.name)
        if _is_data(member, readable, found)
    ]
    tables = [member for member in data if data_suffix(member.name) not in TEXTS]
    for member in data if tables else ():
        if member not in tables:
            found.skipped.append(f"{member.name}: a text beside tables")
    found.sources = _as_sources(path, tables or data)
    if not found.sources:
        raise _empty(path, found.skipped, readable)
    return found


def _empty(path: Path, skipped: list[str], readable: tuple[str, ...]) -> UserError:
    """That no data is in it, and what was passed over with the reason, if anything was."""
    formats = ", ".join(sorted({suffix[1:].upper() for suffix in readable}))
    if not skipped:
        return UserError(
            "archive-empty", "{file} holds no data file. Expected one of {formats}. Nothing was imported.",
            file=path.name, formats=formats,
        )  # fmt: skip
    shown = "; ".join(name[:120] for name in skipped[:SHOWN_SKIPPED]) + (
        "; …" if len(skipped) > SHOWN_SKIPPED else ""
    )
    return UserError(
        "archive-empty",
        "{file} holds no data file that can be read ({skipped}). Expected one of {formats}. Nothing was imported.",
        file=path.name, skipped=readable_text(shown), formats=formats,
    )  # fmt: skip


def label_columns(names: list[str]) -> dict[str, str]:
    """The label of each file where their names are labels: pos.txt and neg.txt, for instance."""
    stems = {name: PurePosixPath(name).stem.casefold() for name in names}
    texts = all(data_suffix(name) in TEXTS for name in names)
    return stems if texts and len(set(stems.values())) > 1 and set(stems.values()) <= LABEL_NAMES else {}


def _as_sources(path: Path, members: list[Member]) -> list[Source]:
    """Sources with labels of their own, and with the label of their folder where the folders are classes."""
    labels = label_columns([member.name for member in members])
    folders = {member.name: PurePosixPath(member.name).parent.name for member in members}
    is_text = all(data_suffix(member.name) in TEXTS for member in members)
    above = {PurePosixPath(member.name).parent.parent for member in members}
    is_one_level = len(above) == 1 or all(split_word(folder.name) for folder in above)  # train/pos, test/pos
    if is_text and is_one_level and all(folders.values()) and len(set(folders.values())) > 1:
        labels = folders
    unit = "file" if labels is folders else ""
    return [
        Source(
            member.path or Path(member.name), f"{path.name}/{member.name.lstrip('/')}", opener=member.opener,
            num_bytes=member.num_bytes, unit=unit, columns={"label": labels[member.name]} if labels else None,
        )
        for member in members
    ]  # fmt: skip


def _is_data(member: Member, readable: tuple[str, ...], found: Contents) -> bool:
    """Whether a file is data; if not, it is named among what was passed over, unless it is hidden."""
    place = PurePosixPath(member.name.replace("\\", "/"))
    if ".." in place.parts:
        found.skipped.append(f"{member.name}: its name leads outside")
        return False
    if any(part.startswith(".") or part == "__MACOSX" for part in place.parts):
        return False
    suffix = data_suffix(place.name)
    if place.name.lower() in BESIDE or place.stem.lower().split(".")[0] in WORDS_BESIDE:
        found.skipped.append(f"{member.name}: no data")
    elif suffix in ARCHIVES:
        found.skipped.append(f"{member.name}: an archive within")
    elif suffix not in readable:
        found.skipped.append(f"{member.name}: no data file")
    elif member.num_bytes == 0:
        found.skipped.append(f"{member.name}: empty")
    else:
        return True
    return False


def _folder_members(path: Path, found: Contents) -> Iterator[Member]:
    """The files of a folder and of those within; links are not followed."""
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in files:
            file = Path(folder) / name
            inner = file.relative_to(path).as_posix()
            if file.is_symlink() or not file.is_file():
                found.skipped.append(f"{inner}: a link")
                continue
            yield Member(inner, file.stat().st_size, path=file)


def _zip_members(path: Path, found: Contents) -> Iterator[Member]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise _broken(path, error) from None
    total = sum(member.file_size for member in archive.infolist())
    if total > FREE_BYTES and total > MAX_RATIO * path.stat().st_size:
        raise bomb(path.name)
    for member in archive.infolist():
        if not member.filename or member.is_dir():
            continue
        if member.flag_bits & 1:
            raise UserError(
                "archive-locked", "{file} is locked with a password. Unpack it first. Nothing was imported.",
                file=path.name,
            )  # fmt: skip
        if (member.external_attr >> 16) & 0o170000 == 0o120000:
            found.skipped.append(f"{member.filename}: a link")
            continue
        yield Member(
            member.filename, member.file_size, functools.partial(_open_zipped, archive, member, path)
        )


def _open_zipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> BinaryIO:
    try:
        return cast(BinaryIO, archive.open(member))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise _broken(path, error) from None


def _tar_members(path: Path, found: Contents) -> Iterator[Member]:
    total = 0
    try:
        archive = tarfile.open(path)  # noqa: SIM115 - its members are read later
        for member in archive:
            if member.isdir():
                continue
            if not member.isreg():
                found.skipped.append(f"{member.name}: a link or a device")
                continue
            total += member.size
            if total > FREE_BYTES and total > MAX_RATIO * path.stat().st_size:
                raise bomb(path.name)
            yield Member(member.name, member.size, functools.partial(_open_tarred, archive, member))
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise _broken(path, error) from None


def _open_tarred(archive: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    file = archive.extractfile(member)
    assert file is not None  # only plain files are listed
    return cast(BinaryIO, file)


def _broken(path: Path, error: Exception) -> UserError:
    return UserError(
        "archive-broken", "{file} is damaged: it cannot be unpacked to its end ({reason}). Nothing was imported.",
        file=path.name, reason=str(error)[:200] or type(error).__name__,
    )  # fmt: skip
