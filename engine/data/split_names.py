"""What names say of splits: of files, folders, lists and sheets that are parts of one data set. Reads no rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

TRAIN, VALIDATION, TEST = "train", "validation", "test"
COLUMN = "split"
SPLITS = {
    "train": TRAIN, "training": TRAIN,
    "validation": VALIDATION, "valid": VALIDATION, "val": VALIDATION, "dev": VALIDATION, "eval": VALIDATION,
    "test": TEST, "testing": TEST,
    "训练集": TRAIN, "验证集": VALIDATION, "测试集": TEST,
}  # fmt: skip


def split_of(name: str) -> str:
    """The split that a file's name says, or else one of its folders; "" if none does."""
    return next((split for part in reversed(PurePosixPath(name).parts) if (split := split_word(part))), "")


def split_word(text: str) -> str:
    """The split that one of the words in a name says; "" if none does."""
    return next((SPLITS[word] for word in re.split(r"[\W\d_]+", text.lower()) if word in SPLITS), "")


def splits_of(names: Sequence[str]) -> tuple[str, ...]:
    """The split of each of several parts, if every name says one and they are not all the same; else nothing."""
    found = tuple(map(split_of, names))
    return found if all(found) and TRAIN in found and len(set(found)) > 1 else ()
