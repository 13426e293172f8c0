"""A column of the playground talks to a GGUF file that llama.cpp runs as it is."""

from __future__ import annotations

from engine.messages import LoadModel, ModelLoaded
from tests.unit.gui.test_playground import FINISHED, stage  # noqa: F401 - a fixture

PATH = "/models/Big.Q4_1.GGUF"


def has_llama_cpp(monkeypatch, *, installed: bool) -> None:
    monkeypatch.setattr("gui.widgets.chat_column.find_spec", lambda name: name if installed else None)


def choosing(monkeypatch, path: str) -> None:
    monkeypatch.setattr("gui.widgets.chat_column.QFileDialog.getOpenFileName", lambda *_: (path, ""))


def test_without_llama_cpp_one_sentence_says_how_to_get_it(stage, monkeypatch):  # noqa: F811
    has_llama_cpp(monkeypatch, installed=False)
    column, asked = stage.panel.columns[0], len(stage.player.asked)
    stage.click(column.gguf_button)
    assert stage.panel.error.isVisible()
    assert 'pip install "tunebench[llama-cpp]"' in stage.panel.error.text.text()
    assert not stage.panel.error.retry_button.isVisible(), "there is nothing to try again"
    assert (column.source, len(stage.player.asked)) == ("tiny", asked)


def test_a_chosen_file_is_loaded_and_answers(stage, monkeypatch):  # noqa: F811
    has_llama_cpp(monkeypatch, installed=True)
    choosing(monkeypatch, PATH)
    column = stage.panel.columns[0]
    stage.click(column.gguf_button)
    request, ticket = stage.player.asked[-1]
    assert request == LoadModel(PATH)
    assert column.picker.currentText() == "Big.Q4_1.GGUF"
    stage.player.say(ticket, ModelLoaded(PATH, "Big.Q4_1.GGUF", "", 134_500_000, True, 0.5))
    assert column.status.whole_text().startswith("by llama.cpp · ")
    stage.send("Hello")
    assert stage.player.prompts()[0][0].source == PATH
    stage.player.reply(0, FINISHED)
    assert "tokens/s" in stage.view().figures.text()


def test_choosing_no_file_changes_nothing(stage, monkeypatch):  # noqa: F811
    has_llama_cpp(monkeypatch, installed=True)
    choosing(monkeypatch, "")
    asked = len(stage.player.asked)
    stage.click(stage.panel.columns[0].gguf_button)
    assert (stage.panel.columns[0].source, len(stage.player.asked)) == ("tiny", asked)
