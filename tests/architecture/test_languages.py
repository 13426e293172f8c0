"""Both languages are complete: every sentence that a user can meet has a Chinese one, with the same fields."""

from __future__ import annotations

import ast
import json
import re
import string
from collections.abc import Iterable, Iterator
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
RAISED = {"UserError", "UsageError", "HistoryError"}

# Where the sentence of an error stands among the arguments of what makes it.
TEMPLATES = dict.fromkeys(RAISED, 1) | {"_Wrong": 1, "Problem": 1, "wrong": 0, "Failed": 2, "RunFailed": 3}


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


Words = dict[str, list[ast.expr]]


def assigned(statements: Iterable[ast.AST]) -> Words:
    """What each name is set to, anywhere in these statements."""
    found: Words = {}
    for statement in statements:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(statement.value)
    return found


def calls(tree: ast.Module) -> Iterator[tuple[ast.Call, Words]]:
    """Every call of a module, with the names that are known where it stands: its function's and the module's."""
    shared = assigned(tree.body)

    def visit(node: ast.AST, known: Words) -> Iterator[tuple[ast.Call, Words]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            known = shared | assigned(ast.walk(node))
        if isinstance(node, ast.Call):
            yield node, known
        for child in ast.iter_child_nodes(node):
            yield from visit(child, known)

    return visit(tree, shared)


def literals(node: ast.expr, known: Words, depth: int = 4) -> Iterator[str]:
    """The texts that an argument can be: a literal, either side of a choice, a name's, or a table's entry."""
    if depth == 0:
        return
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from literals(body, known, depth)
            yield from literals(orelse, known, depth)
        case ast.Name(id=name):
            for value in known.get(name, []):
                yield from literals(value, known, depth - 1)
        case ast.Subscript(value=ast.Name(id=name)):
            yield from entries(known.get(name, []))
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get"), args=arguments):
            yield from entries(known.get(name, []))
            for other in arguments[1:]:
                yield from literals(other, known, depth - 1)


def entries(tables: list[ast.expr]) -> Iterator[str]:
    for table in tables:
        for value in table.values if isinstance(table, ast.Dict) else []:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def visible_texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every English key of a module of the window, with its line."""
    pages = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Page" for base in node.bases)
    }
    for call, known in calls(tree):
        positions, keywords = TEXTS.get(called(call, pages), ((), ()))
        arguments = [call.args[position] for position in positions if position < len(call.args)]
        arguments += [keyword.value for keyword in call.keywords if keyword.arg in keywords]
        for argument in arguments:
            for text in literals(argument, known):
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
    """The sentences of a module's errors, with their lines."""
    for call, known in calls(tree):
        place = TEMPLATES.get(called(call, set()))
        if place is None and _is_error_init(call):
            place = 1
        if place is not None and place < len(call.args):
            for text in literals(call.args[place], known):
                yield call.lineno, text
    for row in (node for node in ast.walk(tree) if isinstance(node, ast.Tuple)):
        match row.elts:  # a table of (what, code, sentence)
            case [_, ast.Constant(value=str(code)), sentence] if re.fullmatch(r"[a-z]+(-[a-z]+)+", code):
                for text in literals(sentence, assigned(tree.body)):
                    if " " in text:  # a sentence, not a list of words
                        yield row.lineno, text


def _is_error_init(call: ast.Call) -> bool:
    """super().__init__("code", "A sentence.") in a class of errors."""
    match call:
        case ast.Call(
            func=ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__"),
            args=[ast.Constant(value=str()), ast.Constant(value=str(sentence)), *_],
        ):
            return " " in sentence
    return False


def test_the_scan_of_errors_finds_what_it_looks_for() -> None:
    code = """
LATE = "Late {n}."
def fail(reason):
    text = "Local."
    fields = {}
    raise UserError("a-b", "Direct {x!r}.", x=1) if reason else UsageError("a-c", text)
    known = ((KeyError, "a-d", LATE),)
    Failed("e", text.format(), "Third.", fields)
class E(UserError):
    def __init__(self):
        super().__init__("a-e", "In init.")
"""
    found = {text for _line, text in templates(ast.parse(code))}
    assert found == {"Direct {x!r}.", "Local.", "Late {n}.", "Third.", "In init."}


def test_every_error_of_the_engine_and_the_history_has_a_chinese_sentence() -> None:
    missing = [
        f"{path.relative_to(PROGRAM)}:{line}: {text}"
        for package in ("engine", "storage")
        for path, tree in modules(package)
        for line, text in templates(tree)
        if text not in WORDS
    ]
    assert missing == [], f"{len(missing)} sentences have no translation:\n" + "\n".join(missing)


def test_every_reason_and_issue_of_data_has_a_chinese_sentence() -> None:
    from engine.data.issues import TEMPLATES as issues
    from engine.data.shapes import REASONS as reasons

    assert [text for text in (*issues.values(), *reasons.values()) if text not in WORDS] == []


def test_errors_give_the_fields_that_their_sentences_name() -> None:
    """A sentence with a field that is not passed would fail at the worst moment."""
    wrong = []
    for package in ("engine", "storage", "cli"):
        for path, tree in modules(package):
            for call, known in calls(tree):
                if called(call, set()) not in RAISED or len(call.args) < 2:
                    continue
                given = {each.arg for each in call.keywords}
                if None in given:
                    continue  # **fields: known only when it runs
                wrong += [
                    f"{path.relative_to(PROGRAM)}:{call.lineno}: {text} {sorted(map(str, given))}"
                    for text in literals(call.args[1], known)
                    if not fields(text) <= given
                ]
    assert wrong == []
