"""Every kind of step by its name: what the window's form and the terminal's help are made from."""

from __future__ import annotations

from engine.data.steps import (
    augment,
    back_translate,
    balance,
    clean,
    deduplicate,
    edit,
    labels,
    mask,
    splitting,
    token_length,
)
from engine.data.steps.step import Step
from engine.errors import UsageError

STEPS: tuple[Step, ...] = (
    *clean.STEPS,
    *token_length.STEPS,
    *deduplicate.STEPS,
    *mask.STEPS,
    *splitting.STEPS,
    *balance.STEPS,
    *augment.STEPS,
    *back_translate.STEPS,
    *labels.STEPS,
    *edit.STEPS,
)
BY_KIND = {step.kind.kind: step for step in STEPS}


def get_step(kind: str) -> Step:
    """Raises UsageError "step-unknown"."""
    if kind not in BY_KIND:
        raise UsageError(
            "step-unknown", "There is no step {kind!r}. There are: {known}.", kind=kind[:80],
            known=", ".join(BY_KIND),
        )  # fmt: skip
    return BY_KIND[kind]
