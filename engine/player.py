"""The player: a service process that keeps a few models in memory and lets them answer.

`python -m engine.player HOME`. Owns which models stay loaded and how many threads they take; the decoding is
`engine.generation.generate`'s, the pipes are `engine.service`'s. One reply at a time.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers.utils.logging import disable_progress_bar

from engine.checkpoint import FOLDER_NAME, checkpoint_path
from engine.errors import UserError
from engine.generation.generate import Generator
from engine.generation.llama_cpp import GgufGenerator, is_gguf
from engine.home import Home
from engine.messages import (
    Generate,
    Generated,
    LoadModel,
    ModelLoaded,
    Predict,
    Predicted,
    TextGenerated,
)
from engine.models.opening import RESULT_NAME, find_source
from engine.predict import Predictor, task_of
from engine.processes import seconds_since_heartbeat
from engine.recipe import usual_threads
from engine.service import Errand, serve

log = logging.getLogger("tunebench.player")

MAX_LOADED = 3
LOW_MEMORY_SHARE = 0.2  # with less of the machine's memory free, older models go before a new one comes
TRAINING_HEARTBEAT_S = 30.0
NICENESS = 5


class Player:
    """Answers LoadModel, Generate and Predict. The most recently used sources stay loaded."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._loaded: OrderedDict[tuple[str, int], Generator | GgufGenerator | Predictor] = OrderedDict()

    def load(self, request: LoadModel, errand: Errand) -> ModelLoaded:
        """Raises UserError if the source does not exist or is not whole."""
        opened = self._open(request.source, errand)
        if isinstance(opened, Predictor):
            return ModelLoaded(
                request.source, opened.title, opened.base, opened.num_parameters, has_chat_template=False,
                seconds=opened.seconds, task=opened.task.id, roles=opened.task.roles,
            )  # fmt: skip
        if isinstance(opened, GgufGenerator):
            return ModelLoaded(
                request.source, opened.title, "", opened.num_parameters, opened.has_chat_template, opened.seconds
            )  # fmt: skip
        card = opened.loaded
        assert card is not None
        return ModelLoaded(
            request.source, card.title, card.base, card.num_parameters, opened.has_chat_template, card.seconds
        )

    def predict(self, request: Predict, errand: Errand) -> Predicted:
        """Raises UserError "not-answered" for a model that writes text, "input-missing"."""
        predictor = self._open(request.source, errand)
        if not isinstance(predictor, Predictor):
            raise UserError(
                "not-answered", "{source} writes text: send it messages instead.", source=request.source
            )
        torch.set_num_threads(_num_threads(self._home))
        return predictor.answer(request.inputs, request.top_k)

    def generate(self, request: Generate, errand: Errand) -> Generated:
        """A cancelled reply ends with what there is of it; raises as `Generator.reply` does."""
        generator = self._open(request.source, errand)
        if isinstance(generator, Predictor):
            raise UserError(
                "not-a-writer", "{source} was trained for {task}: it answers inputs and writes no replies.",
                source=request.source, task=generator.task.id,
            )  # fmt: skip
        num_threads = _num_threads(self._home)
        if isinstance(generator, GgufGenerator):
            generator.num_threads = num_threads
        else:
            torch.set_num_threads(num_threads)
        return generator.reply(
            request.messages,
            request.settings,
            on_text=lambda piece: errand.tell(TextGenerated(piece)),
            should_stop=lambda: errand.cancelled,
        )

    def _open(self, source: str, errand: Errand) -> Generator | GgufGenerator | Predictor:
        key = (source, _stamp(self._home, source))
        if key in self._loaded:
            self._loaded.move_to_end(key)
            return self._loaded[key]
        self._make_room(source)
        errand.progress("loading", 0, 0)
        self._loaded[key] = self._load(source)
        errand.check()
        return self._loaded[key]

    def _load(self, source: str) -> Generator | GgufGenerator | Predictor:
        if is_gguf(source):
            return GgufGenerator.load(Path(source))
        task, _ = task_of(self._home, source, find_source(self._home, source))
        return (Generator if task == "causal-lm" else Predictor).load(self._home, source)

    def _make_room(self, source: str) -> None:
        """Drop what is stale, then the oldest, before another model comes into memory."""
        for key in [key for key in self._loaded if key[0] == source]:
            del self._loaded[key]
        memory = psutil.virtual_memory()
        keep = MAX_LOADED - 1 if memory.available > LOW_MEMORY_SHARE * memory.total else 0
        while len(self._loaded) > keep:
            (dropped, _), _model = self._loaded.popitem(last=False)
            log.info("freed %s", dropped)
        gc.collect()


def _stamp(home: Home, source: str) -> int:
    """Changes when the files behind a source may have: a run that was resumed has other weights."""
    name, _, step = source.partition("@")
    if step.isdecimal():
        places = [checkpoint_path(home.run(name), int(step))]
    else:
        places = [home.models / name, home.run(name) / RESULT_NAME, home.run(name) / FOLDER_NAME]
    return max((place.stat().st_mtime_ns for place in places if place.exists()), default=0)


def _num_threads(home: Home) -> int:
    """As many as a run has; one only while a run trains."""
    beats = (seconds_since_heartbeat(folder) for folder in home.runs.glob("*"))
    training = any(beat is not None and beat < TRAINING_HEARTBEAT_S for beat in beats)
    return 1 if training else usual_threads(psutil.cpu_count(logical=False) or psutil.cpu_count() or 1)


def _be_nice() -> None:
    """The window and whatever else the user does come first."""
    process = psutil.Process()
    if sys.platform == "win32":
        process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        process.nice(NICENESS)


def main(arguments: list[str]) -> None:
    _be_nice()
    disable_progress_bar()  # what is printed is the window's report of a crash
    player = Player(Home.locate(arguments[0]))
    handlers: dict[type, Any] = {
        LoadModel: player.load, Generate: player.generate, Predict: player.predict,
    }  # fmt: skip
    serve(handlers, num_threads=1)


if __name__ == "__main__":
    main(sys.argv[1:])
