"""`generate`: one prompt, one reply. `predict`: one input, what a model of another task makes of it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli.terminal import Terminal, hush_transformers
from engine.errors import UsageError, UserError
from engine.home import Home
from engine.messages import ChatMessage, Generated, Predicted, SamplingSettings
from engine.processes import run_folder

if TYPE_CHECKING:
    from engine.generation.generate import Generator
    from engine.generation.llama_cpp import GgufGenerator


def generate_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    prompt = _readable(_from_stdin() if options.prompt == "-" else options.prompt)
    messages = [ChatMessage("system", _readable(options.system))] if options.system else []
    messages.append(ChatMessage("user", prompt))
    settings = SamplingSettings(
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        repetition_penalty=options.repetition_penalty,
        max_new_tokens=options.max_new_tokens,
        seed=options.seed,
    )
    terminal.progress("loading", 0, 0)
    generator = _generator(home, options.source)
    terminal.end_line()
    made = generator.reply(messages, settings)
    value = {
        "text": made.text,
        "num_prompt_tokens": made.num_prompt_tokens,
        "num_new_tokens": made.num_new_tokens,
        "seconds": made.seconds,
        "first_token_s": made.first_token_s,
        "tokens_per_second": made.num_new_tokens / made.seconds if made.seconds else None,
        "finish": made.finish,
    }
    terminal.result(value, made.text)
    if not terminal.as_json:
        terminal.note(_speed(made))
    return 0


def _speed(made: Generated) -> str:
    """The same words for llama.cpp and for us, so that one can stand beside the other."""
    rate = (
        f", {made.num_new_tokens / made.seconds:.3g} tokens/s" if made.seconds and made.num_new_tokens else ""
    )
    first = f", the first after {made.first_token_s:.2f} s" if made.first_token_s else ""
    return f"({made.num_new_tokens} tokens in {made.seconds:.1f} s{rate}{first})"


def _generator(home: Home, source: str) -> Generator | GgufGenerator:
    from engine.generation.llama_cpp import GgufGenerator, is_gguf

    if is_gguf(source):
        return GgufGenerator.load(Path(source))
    hush_transformers()
    from engine.generation.generate import Generator  # torch: only now

    source = _source(home, source)
    _require_writer(home, source)
    return Generator.load(home, source)


def _require_writer(home: Home, source: str) -> None:
    """Raises UserError "writes-nothing" for a model that a run made for another task."""
    from engine.models.opening import find_source
    from engine.tasks import saved_task

    found = find_source(home, source)
    saved = saved_task(found.adapter or found.base)
    if saved is not None and saved[0] != "causal-lm":
        raise UserError(
            "writes-nothing",
            "{source} was trained for {task} and writes no replies. Ask it with: python main.py predict {source}",
            source=source, task=saved[0],
        )  # fmt: skip


def predict_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    inputs = {role: _readable(text) for role, text in options.inputs}
    if options.text:
        text = _readable(_from_stdin() if options.text == "-" else options.text)
        inputs |= {"text": text, "source": text}
    terminal.progress("loading", 0, 0)
    hush_transformers()
    from engine.predict import Predictor  # torch: only now

    predictor = Predictor.load(home, _source(home, options.source))
    terminal.end_line()
    _require_roles([role for role, _ in options.inputs], predictor.task.id, predictor.task.roles)
    said = predictor.answer(inputs, options.top_k)
    value = {
        "task": said.task,
        "labels": [{"label": each.label, "score": each.score} for each in said.labels],
        "spans": [dataclasses.asdict(each) for each in said.spans],
        "text": said.text,
        "score": said.score,
        "seconds": said.seconds,
    }
    terminal.result(value, "\n".join(_prediction_lines(said)))
    return 0


def _require_roles(given: Sequence[str], task: str, roles: Sequence[str]) -> None:
    """An input that the task does not read would be passed over in silence. Raises UsageError "role-unread"."""
    known = (*roles, "text", "text_pair") if task == "embedding" else roles
    for role in given:
        if role not in known:
            raise UsageError(
                "role-unread", "A model for {task} reads no {role!r}. It reads {roles}.", task=task, role=role[:80],
                roles=", ".join(roles),
            )  # fmt: skip


def _prediction_lines(said: Predicted) -> list[str]:
    lines = [f"{each.score:7.1%}  {each.label or '(no answer)'}" for each in said.labels]
    lines += [f"{each.score:7.1%}  {each.text}  {each.label}".rstrip() for each in said.spans]
    lines += [said.text] if said.text else []
    return lines + ([f"{said.score:.3f}"] if said.score is not None else []) or ["(nothing found)"]


def _from_stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise _not_text() from None


def _readable(text: str) -> str:
    """The words themselves; a terminal may hand over bytes that are no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _not_text() from None
    return text


def _not_text() -> UsageError:
    return UsageError("prompt-not-text", "The prompt holds bytes that are no text. Write it in UTF-8.")


def _source(home: Home, source: str) -> str:
    """A run may be given by the beginning of its id, with or without @step."""
    name, at, step = source.partition("@")
    if not (home.models / source).exists():
        with contextlib.suppress(UserError):  # then it is a folder, or the engine names what is missing
            return run_folder(home, name).name + at + step
    return source
