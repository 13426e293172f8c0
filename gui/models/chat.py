"""A conversation in one column of the playground: turns, what the next request carries, what is kept.

Plain data: no widgets, no services.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from engine.messages import ChatMessage, Generated, SamplingSettings
from storage.records import KeptReply

WAITING, LOADING, WRITING, DONE, FAILED = "waiting", "loading", "writing", "done", "failed"


@dataclass
class Turn:
    """A prompt and what came of it. `result` is None until the reply has ended, also by Stop."""

    prompt: str
    source: str
    title: str
    settings: SamplingSettings
    system: str = ""
    text: str = ""
    state: str = WAITING
    result: Generated | None = None
    kept_id: str = ""

    @property
    def is_over(self) -> bool:
        return self.state in (DONE, FAILED)


@dataclass
class Conversation:
    turns: list[Turn] = field(default_factory=list)

    def messages(self, turn: Turn) -> tuple[ChatMessage, ...]:
        """What the model reads for this turn: its system prompt, the turns before it, and its prompt.

        An earlier turn that has no reply is left out, so that roles always alternate.
        """
        messages = [ChatMessage("system", turn.system)] if turn.system else []
        for earlier in self.turns[: self.turns.index(turn)]:
            if earlier.text:
                messages += [ChatMessage("user", earlier.prompt), ChatMessage("assistant", earlier.text)]
        return (*messages, ChatMessage("user", turn.prompt))

    def begin_again(self, source: str, title: str, settings: SamplingSettings, system: str) -> Turn:
        """The last turn, to be answered anew. The same settings would repeat it: then the seed moves on."""
        last = self.turns.pop()
        unchanged = (last.source, last.system, last.text != "") == (source, system, True)
        if unchanged and dataclasses.replace(settings, seed=last.settings.seed) == last.settings:
            settings = dataclasses.replace(settings, seed=max(settings.seed, last.settings.seed + 1))
        turn = Turn(last.prompt, source, title, settings, system)
        self.turns.append(turn)
        return turn

    def to_keep(self, turn: Turn) -> KeptReply:
        """The reply with all that made it."""
        extra: dict[str, Any] = {}
        if turn.result is not None:
            extra = {
                "num_new_tokens": turn.result.num_new_tokens,
                "seconds": turn.result.seconds,
                "finish": turn.result.finish,
            }
        return KeptReply(
            source=turn.source,
            title=turn.title,
            messages=tuple(dataclasses.asdict(message) for message in self.messages(turn)),
            reply=turn.text,
            settings=dataclasses.asdict(turn.settings),
            extra=extra,
        )

    @classmethod
    def from_kept(cls, kept: KeptReply) -> Conversation:
        """The conversation that a kept reply ended, with that reply as its last turn."""
        settings = settings_from(kept.settings)
        system = ""
        prompts: list[str] = []
        replies: list[str] = []
        for message in kept.messages:
            if message["role"] == "system":
                system = message["content"]
            else:
                (prompts if message["role"] == "user" else replies).append(message["content"])
        turns = [
            Turn(prompt, kept.source, kept.title, settings, system, text, DONE)
            for prompt, text in zip(prompts, [*replies, kept.reply], strict=False)
        ]
        if turns:
            turns[-1].result, turns[-1].kept_id = _result_of(kept), kept.id
        return cls(turns)


def settings_from(values: dict[str, Any]) -> SamplingSettings:
    """Settings as they were kept; what an older or newer build does not know is left at its default."""
    known = {spec.name for spec in dataclasses.fields(SamplingSettings)}
    return SamplingSettings(**{key: value for key, value in values.items() if key in known})


def _result_of(kept: KeptReply) -> Generated | None:
    extra = kept.extra
    if not {"num_new_tokens", "seconds", "finish"} <= extra.keys():
        return None
    return Generated(kept.reply, 0, extra["num_new_tokens"], extra["seconds"], extra["finish"])
