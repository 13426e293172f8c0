"""How a history file comes from any earlier schema to this build's: numbered steps, each run once, in order.

A step is a module `NNNN_topic.py` with `upgrade(connection)`. They are append-only: a released step is never
edited. `PRAGMA user_version` says how many have run; it is set in the same transaction as the step itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from sqlalchemy import Connection

Migration = Callable[[Connection], None]

# Listed by hand, so that a packaged program needs no look into folders; a test compares it with the files.
NAMES = ("0001_first",)

MIGRATIONS: tuple[Migration, ...] = tuple(
    importlib.import_module(f"{__name__}.{name}").upgrade for name in NAMES
)
