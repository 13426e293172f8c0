"""The recipe's form: every field, its words, its default, its problems, its memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings, Qt

from engine.metrics import METRICS, figures_of_validation
from engine.recipe import EFFORTS, FIELDS, TASKS, Recipe
from gui.recipe_words import METHOD_TIPS, WORDS
from gui.widgets.recipe_fields import Choice
from gui.widgets.recipe_form import ADVANCED, EFFORT_WORDS, GROUPS, LOSSES, SIMPLE, RecipeForm
from gui.widgets.texts_field import TextsField
from gui.words import CATALOGUES, language

SHIPPED = sorted((Path(__file__).parents[3] / "assets" / "recipes").glob("*.toml"))


@pytest.fixture
def form(qtbot):
    form = RecipeForm()
    qtbot.addWidget(form)
    return form


def type_into(form: RecipeForm, key: str, text: str) -> None:
    """As a person would: the text changes, and the field says so."""
    field = form.field(key)
    field.setText(text)
    field.textEdited.emit(text)


def test_every_field_of_the_recipe_has_a_control_and_a_group(form):
    for key, spec in FIELDS.items():
        if key != "task":
            assert form.field(key) is not None, key
        assert spec.metadata["group"] in GROUPS, key
    assert set(ADVANCED) | set(SIMPLE) | {"task"} == set(FIELDS)


def test_every_word_of_the_form_is_there_in_chinese():
    chinese = {}
    for path in (CATALOGUES / "zh_CN").glob("*.json"):
        chinese |= json.loads(path.read_text(encoding="utf-8"))
    words = [*GROUPS.values(), *WORDS.values(), *EFFORT_WORDS.values(), *METHOD_TIPS.values()]
    for spec in FIELDS.values():
        words += [spec.metadata["label"], spec.metadata["help"], spec.metadata["unit"]]
        words += [WORDS[choice] for choice in spec.metadata["choices"]]
    assert [word for word in words if word and word not in chinese] == []


def test_an_untouched_form_is_the_default_recipe(form):
    assert form.recipe() == Recipe()
    assert form.changed_keys == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_comes_out_as_it_went_in(form, path):
    recipe = Recipe.load(path)
    form.set_values(recipe.to_dict())
    assert form.recipe() == recipe


def test_an_effort_sets_its_own_fields_and_leaves_the_others(form):
    type_into(form, "learning_rate", "1e-3")
    form.field("effort").set_value("thorough")
    form.field("effort").changed.emit()
    recipe = form.recipe()
    assert (recipe.num_epochs, recipe.rank, recipe.alpha) == tuple(EFFORTS["thorough"].values())
    assert recipe.learning_rate == 1e-3
    assert form.changed_keys == ["learning_rate"]


def test_what_differs_carries_a_dot_and_a_reset(form):
    row = form.row("rank")
    assert row.dot.isHidden()
    type_into(form, "rank", "8")
    assert not row.dot.isHidden() and not row.reset_button.isHidden()
    assert form.recipe().rank == 8
    row.reset_button.click()
    assert row.dot.isHidden() and form.recipe().rank == 16


def test_an_emptied_field_means_its_default(form):
    type_into(form, "seed", "7")
    type_into(form, "seed", "")
    assert form.recipe().seed == 42
    assert form.field("seed").placeholderText() == "42"


def test_automatic_values_are_shown_and_follow_method_and_data(form):
    assert form.field("learning_rate").placeholderText() == "auto (0.0005)"
    assert form.field("num_steps").placeholderText() == "auto"
    form.set_num_rows(320)
    assert form.field("num_steps").placeholderText() == "auto (108)"
    form.field("method").set_value("full")
    form.field("method").changed.emit()
    assert form.field("learning_rate").placeholderText() == "auto (5e-05)"


def test_fields_of_another_method_go_and_do_not_count(form):
    type_into(form, "dropout", "0.1")
    form.field("method").set_value("full")
    form.field("method").changed.emit()
    assert form.row("dropout").control.isHidden()
    assert form.recipe() == Recipe(method="full")


def test_all_problems_are_told_at_once_and_near_their_fields(form):
    type_into(form, "rank", "0")
    type_into(form, "warmup_steps", "soon")
    type_into(form, "validation_fraction", "3")
    assert form.recipe() is None
    assert {problem.key for problem in form.problems} == {"rank", "warmup_steps", "validation_fraction"}
    assert form.row("rank").help.text() == "Rank is 0; it must be 1 or more."
    assert form.row("rank").help.property("role") == "bad"
    assert len(form._all_problems.text().splitlines()) == 3
    assert form._toggle.isChecked()
    language.use("zh_CN")
    try:
        assert form.row("rank").help.text() == "“秩”为 0，不能小于 1。"
    finally:
        language.use("en")
    type_into(form, "rank", "4")
    assert form.row("rank").help.property("role") == "quiet"


def test_a_contradiction_between_two_fields_is_told(form):
    type_into(form, "num_steps", "10")
    type_into(form, "warmup_steps", "20")
    assert [str(problem) for problem in form.problems] == ["warmup_steps (20) is more than num_steps (10)."]


def test_the_choices_keep_what_is_chosen_even_if_it_is_gone(form):
    form.set_libraries([Choice("a", "Set A", "10 rows")], [Choice("m", "Model M")])
    form.set_value("data", "a")
    assert form.row("data").help.text() == "10 rows"
    form.set_libraries([Choice("b", "Set B")], [Choice("m", "Model M")])
    assert form.values()["data"] == "a"


def test_up_and_down_change_a_number(qtbot, form):
    qtbot.keyClick(form.field("rank"), Qt.Key.Key_Up)
    assert form.recipe().rank == 17
    type_into(form, "learning_rate", "0.001")
    qtbot.keyClick(form.field("learning_rate"), Qt.Key.Key_Down)
    assert form.recipe().learning_rate == pytest.approx(0.0005)


def test_the_last_choices_are_found_again(qtbot, tmp_path):
    settings = QSettings(str(tmp_path / "s.ini"), QSettings.Format.IniFormat)
    first = RecipeForm(settings)
    qtbot.addWidget(first)
    first.set_values({"rank": 4, "data": "mine", "name": "once"}, "quick")
    settings.sync()
    second = RecipeForm(QSettings(str(tmp_path / "s.ini"), QSettings.Format.IniFormat))
    qtbot.addWidget(second)
    assert second.effort == "quick"
    assert second.recipe() == first.recipe().replace(name="")


def test_a_memory_of_another_version_gives_the_defaults(qtbot, tmp_path):
    settings = QSettings(str(tmp_path / "s.ini"), QSettings.Format.IniFormat)
    settings.setValue("train/last_choices", json.dumps({"values": {"no_such_key": 1}, "effort": "quick"}))
    form = RecipeForm(settings)
    qtbot.addWidget(form)
    assert form.recipe() == Recipe()


@pytest.mark.parametrize(("kept", "found"), [(True, "auto"), (False, "never"), ("always", "always")])
def test_who_left_a_former_default_alone_gets_todays(qtbot, tmp_path, kept, found):
    settings = QSettings(str(tmp_path / "s.ini"), QSettings.Format.IniFormat)
    settings.setValue("train/last_choices", json.dumps({"values": {"group_by_length": kept, "rank": 4}}))
    form = RecipeForm(settings)
    qtbot.addWidget(form)
    assert form.recipe() == Recipe(group_by_length=found, rank=4)


def items(form: RecipeForm, key: str) -> list[str]:
    field = form.field(key)
    return [field.itemText(place) for place in range(field.count())]


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_its_own_figures_to_go_by_and_only_its_own_fields(form, task):
    form.set_tasks((task,))
    expected = [METRICS[name].title for name in figures_of_validation(task) if name not in LOSSES]
    assert items(form, "best_by") == ["Validation loss", *expected]
    for key in ADVANCED:
        rules = FIELDS[key].metadata
        if "lora" not in rules["methods"] or task not in rules["tasks"]:
            assert form.row(key).control.isHidden(), key
    shown = [
        key
        for key in ("data", "model", "task", "method", "effort", "name")
        if not form.row(key).control.isHidden()
    ]
    assert shown == ["data", "model", "method", "effort", "name"]
    assert form.recipe() == Recipe()


def test_the_figure_of_another_task_is_dropped(form):
    form.set_tasks(("text-classification", "causal-lm"))
    assert not form.row("task").control.isHidden()
    form.set_value("best_by", "accuracy")
    assert form.recipe().best_by == "accuracy" and form.changed_keys == ["best_by"]
    language.use("zh_CN")
    assert items(form, "best_by")[:2] == ["验证损失", "准确率"] and form.recipe().best_by == "accuracy"
    form.set_value("task", "causal-lm")
    assert form.recipe().best_by == "val_loss"


def test_a_teacher_is_one_of_the_models_or_none(form):
    form.set_libraries([], [Choice("m", "Model M"), Choice("large", "Model L")])
    assert items(form, "teacher") == ["None", "Model M", "Model L"]
    assert form.recipe().teacher == "" and "teacher" not in form.changed_keys
    form.set_value("teacher", "large")
    assert form.recipe().teacher == "large" and "teacher" in form.changed_keys
    field = form.field("teacher")
    field.setCurrentIndex(0)
    field.activated.emit(0)
    assert form.recipe() == Recipe()


# ------------------------------------------------------------------------------- texts of several lines

POEM = "Write a poem:\n\n  The lamp\nis out."


def test_prompts_of_several_lines_stay_as_they_were_written(form):
    form.set_values({"sample_prompts": [POEM, "One line."]})
    assert form.recipe().sample_prompts == (POEM, "One line.")
    assert [box.text() for box in form.field("sample_prompts").boxes] == [POEM, "One line."]


def test_prompts_are_added_and_removed(qtbot, form):
    field = form.field("sample_prompts")
    assert form.recipe().sample_prompts == () and not field.add_button.isEnabled()
    qtbot.keyClicks(field.boxes[0].edit, "First")
    qtbot.keyClick(field.boxes[0].edit, Qt.Key.Key_Return)
    qtbot.keyClicks(field.boxes[0].edit, "line two")
    field.add_button.click()
    assert form.recipe().sample_prompts == ("First\nline two",), "an empty box is no prompt"
    qtbot.keyClicks(field.boxes[1].edit, "Second")
    assert form.recipe().sample_prompts == ("First\nline two", "Second")
    assert "sample_prompts" in form.changed_keys
    field.boxes[0].remove_button.click()
    assert form.recipe().sample_prompts == ("Second",)
    field.boxes[0].remove_button.click()
    assert form.recipe().sample_prompts == () and len(field.boxes) == 1


def test_a_box_grows_with_its_text_up_to_some_lines(form):
    field = form.field("sample_prompts")
    field.set_value(["one", "1\n2\n3", "\n".join(map(str, range(50)))])
    low, higher, highest = (box.edit.height() for box in field.boxes)
    assert low < higher < highest < 8 * field.boxes[0].edit.fontMetrics().lineSpacing()


def test_a_box_grows_where_a_line_is_broken(qtbot):
    field = TextsField("Prompt")
    qtbot.addWidget(field)
    field.set_value(["Where is my money, and when will it come back to me?"])
    field.resize(500, 80)
    with qtbot.waitExposed(field):
        field.show()
    wide = field.boxes[0].edit.height()
    field.resize(160, 200)
    qtbot.waitUntil(lambda: field.boxes[0].edit.height() > wide)


def test_what_is_kept_in_the_end_follows_early_stopping_until_it_is_chosen(form):
    assert form.field("result").placeholderText() == "auto (The last weights)"
    type_into(form, "early_stopping_patience", "2")
    assert form.field("result").placeholderText() == "auto (The best weights)"
    assert form.recipe().result is None
    form.set_value("result", "last")
    assert form.recipe().result == "last" and "result" in form.changed_keys
    form.row("result").reset_button.click()
    assert form.recipe().result is None
