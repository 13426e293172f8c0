"""Tests of the window: in English and light unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def language_and_theme_are_put_back(qapp: object) -> Iterator[None]:
    """Both belong to the whole process: a test that switches them must not change the next one."""
    from gui.theme import theme
    from gui.widgets.table import Table
    from gui.words import language

    yield
    Table.settings = None
    if language.code != "en":
        language.use("en")
    if theme.choice == "dark":
        theme.use("light")
