"""The tables as the queries of this build see them. How a file comes to have them stands in `migrations`.

Everything here is an index: run folders and their journals are the truth, and this is rebuilt from them.
"""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Integer, MetaData, Table, Text

metadata = MetaData()

# One row a run. `state` is what its events say (created, running, paused, finished, stopped, failed); whether
# its worker lives is asked when it is read. `journal_*`: how far the journal was read, how to recognise it.
runs = Table(
    "runs",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("created_utc", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("model_title", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("data_hash", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("recipe", JSON, nullable=False),
    Column("environment", JSON, nullable=False),
    Column("prepared", JSON, nullable=False),
    Column("failure", JSON(none_as_null=True)),
    Column("result_path", Text),
    Column("steps", Integer, nullable=False),
    Column("num_steps", Integer, nullable=False),
    Column("first_val_loss", Float),
    Column("best_val_loss", Float),
    Column("last_train_loss", Float),
    Column("duration_s", Float, nullable=False),
    Column("is_trashed", Boolean, nullable=False),
    # The user's own words, from notes.json; given_name is null until a run is renamed.
    Column("given_name", Text),
    Column("note", Text, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("notes_stamp", Text, nullable=False),
    Column("journal_offset", Integer, nullable=False),
    Column("journal_stamp", Text, nullable=False),
    Column("journal_print", Text, nullable=False),
)

metrics = Table(
    "metrics",
    metadata,
    Column("run_key", ForeignKey("runs.key", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("value", Float, nullable=False),
)

samples = Table(
    "samples",
    metadata,
    Column("run_key", ForeignKey("runs.key", ondelete="CASCADE"), primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("prompt_index", Integer, primary_key=True),
    Column("prompt", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("reference", Text, nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("run_key", ForeignKey("runs.key", ondelete="CASCADE"), primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("path", Text, nullable=False),
    Column("num_bytes", Integer, nullable=False),
    Column("is_best", Boolean, nullable=False),
)
