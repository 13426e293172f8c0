"""Runs, metrics, samples and checkpoints: the first schema. Append-only: never edit, add 0002 instead."""

from __future__ import annotations

from sqlalchemy import Connection

STATEMENTS = (
    """
    CREATE TABLE runs (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        created_utc TEXT NOT NULL,
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        task TEXT NOT NULL,
        model TEXT NOT NULL,
        model_title TEXT NOT NULL,
        data TEXT NOT NULL,
        data_hash TEXT NOT NULL,
        method TEXT NOT NULL,
        recipe JSON NOT NULL,
        environment JSON NOT NULL,
        prepared JSON NOT NULL,
        failure JSON,
        result_path TEXT,
        steps INTEGER NOT NULL,
        num_steps INTEGER NOT NULL,
        first_val_loss FLOAT,
        best_val_loss FLOAT,
        last_train_loss FLOAT,
        duration_s FLOAT NOT NULL,
        is_trashed BOOLEAN NOT NULL,
        given_name TEXT,
        note TEXT NOT NULL,
        tags JSON NOT NULL,
        notes_stamp TEXT NOT NULL,
        journal_offset INTEGER NOT NULL,
        journal_stamp TEXT NOT NULL,
        journal_print TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE metrics (
        run_key INTEGER NOT NULL REFERENCES runs (key) ON DELETE CASCADE,
        name TEXT NOT NULL,
        step INTEGER NOT NULL,
        value FLOAT NOT NULL,
        PRIMARY KEY (run_key, name, step)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE samples (
        run_key INTEGER NOT NULL REFERENCES runs (key) ON DELETE CASCADE,
        step INTEGER NOT NULL,
        prompt_index INTEGER NOT NULL,
        prompt TEXT NOT NULL,
        text TEXT NOT NULL,
        reference TEXT NOT NULL,
        PRIMARY KEY (run_key, step, prompt_index)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE checkpoints (
        run_key INTEGER NOT NULL REFERENCES runs (key) ON DELETE CASCADE,
        step INTEGER NOT NULL,
        path TEXT NOT NULL,
        num_bytes INTEGER NOT NULL,
        is_best BOOLEAN NOT NULL,
        PRIMARY KEY (run_key, step)
    ) WITHOUT ROWID
    """,
)


def upgrade(connection: Connection) -> None:
    for statement in STATEMENTS:
        connection.exec_driver_sql(statement)
