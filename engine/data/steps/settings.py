"""Settings of steps: how they are declared, and whether what was given is one. Touches no data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.errors import UsageError
from engine.messages import StepKind, StepSetting

COLUMNS = StepSetting(
    "columns", "columns", [], "Columns", "Where it looks. None chosen means every column that plays a role."
)
SEED = StepSetting("seed", "whole", 0, "Seed", "The same seed draws the same rows again.", minimum=0)


def switch(name: str, title: str, help: str = "", *, default: bool = True) -> StepSetting:
    return StepSetting(name, "switch", default, title, help)


def choice(
    name: str, title: str, options: Mapping[str, str], help: str = "", default: str = ""
) -> StepSetting:
    """`options` are {value: English words}; the first is the default unless another is named."""
    return StepSetting(
        name, "choice", default or next(iter(options)), title, help, tuple(options), tuple(options.values())
    )


def whole(
    name: str, title: str, default: int, help: str = "", *, minimum: int = 0, maximum: int | None = None
) -> StepSetting:
    return StepSetting(name, "whole", default, title, help, minimum=minimum, maximum=maximum)


def number(
    name: str, title: str, default: float, help: str = "", *, minimum: float, maximum: float
) -> StepSetting:
    return StepSetting(name, "number", default, title, help, minimum=minimum, maximum=maximum)


def checked_settings(kind: StepKind, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of the kind: as given, or its default.

    Raises:
        UsageError: "step-setting-unknown", "step-setting-wrong".
    """
    known = {setting.name: setting for setting in kind.settings}
    for name in given:
        if name not in known:
            raise UsageError(
                "step-setting-unknown", "{kind} has no setting {setting!r}. It has: {known}.",
                kind=kind.kind, setting=str(name), known=", ".join(known),
            )  # fmt: skip
    return {
        name: _checked(setting, given[name]) if name in given else setting.default
        for name, setting in known.items()
    }


def _checked(setting: StepSetting, value: Any) -> Any:
    fits, expected = _TYPES[setting.type]
    if not fits(value):
        raise _wrong(setting, value, expected)
    if setting.type in ("choice", "choices"):
        for one in value if isinstance(value, list | tuple) else [value]:
            if one not in setting.choices:
                raise _wrong(setting, one, " / ".join(setting.choices))
    low, high = setting.minimum, setting.maximum
    if low is not None and value < low:
        raise _wrong(setting, value, f"≥ {low:g}")
    if high is not None and value > high:
        raise _wrong(setting, value, f"≤ {high:g}")
    if isinstance(value, tuple):
        return list(value)
    return float(value) if setting.type == "number" else value


def _wrong(setting: StepSetting, value: Any, expected: str) -> UsageError:
    return UsageError(
        "step-setting-wrong", "{setting} cannot be {value}. Expected: {expected}.", setting=setting.name,
        value=repr(value)[:80], expected=expected,
    )  # fmt: skip


def _is_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # noqa: PLR0124


def _is_positions(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(type(one) is int for one in value)


def _is_values(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for pair in value.items() for one in pair)


_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "switch": (lambda value: isinstance(value, bool), "true / false"),
    "whole": (lambda value: isinstance(value, int) and not isinstance(value, bool), "1, 2, 3…"),
    "number": (_is_number, "0.5, 1, 2…"),
    "text": (_is_text, '"…"'),
    "model": (_is_text, '"…"'),
    "choice": (_is_text, '"…"'),
    "column": (_is_text, '"…"'),
    "choices": (_is_texts, '["…"]'),
    "columns": (_is_texts, '["…"]'),
    "lines": (_is_texts, '["…"]'),
    "positions": (_is_positions, "[0, 1, 2…]"),
    "values": (_is_values, '{"…": "…"}'),
}
