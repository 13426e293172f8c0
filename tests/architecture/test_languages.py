"""Both languages are complete: every sentence that a user can meet has a Chinese one, with the same fields."""

from __future__ import annotations

import ast
import json
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.recipe import FIELDS

PROGRAM = Path(__file__).resolve().parents[2]
CATALOGUES = sorted((PROGRAM / "assets" / "i18n" / "zh_CN").glob("*.json"))

# Which arguments of a call are English keys of the catalogues: positions, and keywords.
TEXTS: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "tr": ((0,), ("text",)),
    "bind": ((1,), ("text",)),
    "button": ((0,), ("text",)),
    "set_primary": ((0,), ("text",)),
    "add_action": ((0,), ("text",)),
    "set_sentence": ((0,), ("text",)),
    "begin": ((0,), ("text",)),
    "Page": ((0, 1), ("title", "sentence")),
    "EmptyState": ((1, 2, 3), ("title", "sentence", "button_text")),
}
ERRORS = {"UserError", "UsageError", "HistoryError"}


def catalogue(path: Path) -> dict[str, str]:
    words: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return words


WORDS = {english: chinese for path in CATALOGUES for english, chinese in catalogue(path).items()}


def fields(text: str) -> set[str]:
    return {name for _text, name, _format, _conversion in string.Formatter().parse(text) if name is not None}


# ----------------------------------------------------------------------------------------- the catalogues


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_a_translation_has_the_fields_of_its_sentence(path: Path) -> None:
    wrong = [english for english, chinese in catalogue(path).items() if fields(english) != fields(chinese)]
    assert wrong == []
    assert [english for english, chinese in catalogue(path).items() if not chinese.strip()] == []


def test_a_sentence_has_one_translation() -> None:
    seen: dict[str, tuple[str, str]] = {}
    twice = []
    for path in CATALOGUES:
        for english, chinese in catalogue(path).items():
            before = seen.setdefault(english, (chinese, path.name))
            if before[0] != chinese:
                twice.append((english, before, (chinese, path.name)))
    assert twice == []


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_a_key_stands_once_in_its_file(path: Path) -> None:
    keys: list[str] = []
    json.loads(
        path.read_text(encoding="utf-8"), object_pairs_hook=lambda pairs: keys.extend(k for k, _ in pairs)
    )
    assert sorted(set(keys)) == sorted(keys)


# -------------------------------------------------------------------------------------- what is translated


def modules(package: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((PROGRAM / package).rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def called(call: ast.Call, page_classes: set[str]) -> str:
    """The name of what is called; the frame of a page is also reached by super().__init__."""
    match call.func:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__"):
            return "Page" if page_classes else ""
        case ast.Attribute(attr=name):
            return name
    return ""


def literals(node: ast.expr, constants: dict[str, ast.expr]) -> Iterator[str]:
    """The texts that an argument can be: a literal, either side of a choice, or an entry of a table of words."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from literals(body, constants)
            yield from literals(orelse, constants)
        case ast.Subscript(value=ast.Name(id=name)) if name in constants:
            yield from values_of(constants[name])
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get")) if name in constants:
            yield from values_of(constants[name])


def values_of(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Dict):
        for value in node.values:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def visible_texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every English key of a module of the window, with its line."""
    constants = {
        target.id: statement.value
        for statement in tree.body if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        if isinstance(target, ast.Name)
    }  # fmt: skip
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    pages = {
        node.name
        for node in classes
        if any(isinstance(base, ast.Name) and base.id == "Page" for base in node.bases)
    }
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        positions, keywords = TEXTS.get(called(call, pages), ((), ()))
        arguments = [call.args[position] for position in positions if position < len(call.args)]
        arguments += [keyword.value for keyword in call.keywords if keyword.arg in keywords]
        for argument in arguments:
            for text in literals(argument, constants):
                if any(letter.isalpha() for letter in text):
                    yield call.lineno, text


def test_the_scan_finds_what_it_looks_for() -> None:
    """The scan itself is tried on a piece of code: a scan that finds nothing would pass everything."""
    code = """
STATES = {"a": "State a"}
class P(Page):
    def __init__(self):
        super().__init__("Title", "A sentence.")
        tr("Told {n}", n=1); bind(self.x.setText, "Bound"); tr("One" if x else "Two"); tr(STATES[y])
        EmptyState("icon", "Empty", "Nothing here.", "Do it")
        self.set_primary("Go", self.go, "play")
        tr(variable); tr("…")
"""
    found = {text for _line, text in visible_texts(ast.parse(code))}
    assert found == {
        "Title", "A sentence.", "Told {n}", "Bound", "One", "Two", "State a", "Empty", "Nothing here.", "Do it", "Go",
    }  # fmt: skip


def test_every_visible_text_has_a_chinese_one() -> None:
    missing = [
        f"{path.relative_to(PROGRAM)}:{line}: {text}"
        for path, tree in modules("gui")
        for line, text in visible_texts(tree)
        if text not in WORDS
    ]
    assert missing == [], f"{len(missing)} texts have no translation:\n" + "\n".join(missing)


def test_every_setting_of_a_recipe_has_a_chinese_name_and_help() -> None:
    texts = {
        spec.metadata[part]
        for spec in FIELDS.values()
        for part in ("label", "help", "unit")
        if spec.metadata[part]
    }
    assert sorted(texts - set(WORDS)) == []


def templates(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The sentences of a module's errors; the second argument, after the code."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = called(call, set())
        if name not in ERRORS:
            continue
        wanted = call.args[1:2] + [
            each.value for each in call.keywords if each.arg in ("message", "template")
        ]
        for argument in wanted:
            for text in literals(argument, {}):
                yield call.lineno, text


def test_every_error_of_the_engine_and_the_history_has_a_chinese_sentence() -> None:
    missing = [
        f"{path.relative_to(PROGRAM)}:{line}: {text}"
        for package in ("engine", "storage")
        for path, tree in modules(package)
        for line, text in templates(tree)
        if text not in WORDS
    ]
    assert missing == [], f"{len(missing)} sentences have no translation:\n" + "\n".join(missing)


def test_errors_give_the_fields_that_their_sentences_name() -> None:
    """A sentence with a field that is not passed would fail at the worst moment."""
    wrong = []
    for package in ("engine", "storage", "cli"):
        for path, tree in modules(package):
            for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
                if called(call, set()) not in ERRORS or len(call.args) < 2:
                    continue
                given = {each.arg for each in call.keywords}
                if None in given:
                    continue  # **fields: known only when it runs
                for text in literals(call.args[1], {}):
                    if fields(text) != given:
                        wrong.append(
                            f"{path.relative_to(PROGRAM)}:{call.lineno}: {text} {sorted(map(str, given))}"
                        )
    assert wrong == []
