"""Amounts as people read them: three significant digits, a unit, the language of the window. "–" where unknown."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from PySide6.QtCore import QDate, QLocale

from gui.words import language, tr

NONE = "–"
DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB")
BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def amount_bytes(num_bytes: float | None, *, binary: bool = False) -> str:
    """269 MB; with `binary` the powers of 1024 in which memory is sold: 16 GiB."""
    if not _is_number(num_bytes):
        return NONE
    assert num_bytes is not None
    return _scaled(num_bytes, 1024 if binary else 1000, BINARY if binary else DECIMAL)


def amount_count(count: float | None, *, exact: bool = False) -> str:
    """1.4 k, 134 M; with `exact` every digit, grouped: 35,124."""
    if not _is_number(count):
        return NONE
    assert count is not None
    if exact or abs(count) < 1000:
        return f"{round(count):,}"
    return _scaled(count, 1000, ("", "k", "M", "G", "T"))


def amount_loss(loss: float | None) -> str:
    """2.31, 0.0123: three significant digits, of any plain number."""
    if not _is_number(loss):
        return NONE
    assert loss is not None
    if loss == 0:
        return "0"
    if abs(loss) < 1e-4 or abs(loss) >= 1e6:
        return f"{loss:.2e}"
    return _three_digits(loss)


def amount_duration(seconds: float | None) -> str:
    """0.42 s, 45 s, 3 m 20 s, 2 h 05 m, 3 d 4 h; never negative."""
    if not _is_number(seconds):
        return NONE
    assert seconds is not None
    seconds = max(0.0, seconds)
    if seconds < 10:
        return tr("{seconds} s", seconds=f"{seconds:.1f}" if seconds >= 0.95 else f"{seconds:.2g}")
    whole = round(seconds)
    if whole < 60:
        return tr("{seconds} s", seconds=whole)
    if whole < 3600:
        return tr("{minutes} m {seconds} s", minutes=whole // 60, seconds=f"{whole % 60:02d}")
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return tr("{hours} h {minutes} m", hours=minutes // 60, minutes=f"{minutes % 60:02d}")
    hours = round(seconds / 3600)
    return tr("{days} d {hours} h", days=hours // 24, hours=hours % 24)


def about_duration(seconds: float | None) -> str:
    """An estimate in words that do not pretend: under a minute, about 4 minutes, about 2.5 hours."""
    if not _is_number(seconds):
        return NONE
    assert seconds is not None
    if seconds < 50:
        return tr("under a minute")
    if seconds < 90:
        return tr("about 1 minute")
    if seconds < 5400:
        return tr("about {count} minutes", count=round(seconds / 60))
    return tr("about {count} hours", count=f"{seconds / 3600:.1f}".removesuffix(".0"))


def amount_rate(per_second: float | None, unit: str = "tokens/s") -> str:
    """209 tokens/s; `unit` is an English key."""
    if not _is_number(per_second):
        return NONE
    assert per_second is not None
    if unit == "B/s":
        return f"{amount_bytes(per_second)}/s"
    return f"{_scaled(per_second, 1000, ('', 'k', 'M'))} {tr(unit)}"


def amount_percent(share: float | None) -> str:
    """A share from 0 to 1: 0.374 is 37.4 %."""
    if not _is_number(share):
        return NONE
    assert share is not None
    percent = share * 100
    return f"{_stripped(_three_digits(percent)) if percent else 0} %"


def when(utc_iso: str | None) -> str:
    """A UTC time as local, near times in words: 5 min ago, today 14:02, 12 Mar 14:02."""
    try:
        then = datetime.fromisoformat((utc_iso or "").replace("Z", "+00:00"))
    except ValueError:
        return utc_iso or NONE
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    ago = datetime.now(UTC) - then
    if timedelta(0) <= ago < timedelta(minutes=1):
        return tr("just now")
    if timedelta(0) <= ago < timedelta(hours=1):
        return tr("{count} min ago", count=int(ago.total_seconds() // 60))
    return _day_and_time(then.astimezone(), datetime.now().astimezone())


def _day_and_time(local: datetime, now: datetime) -> str:
    clock = local.strftime("%H:%M")
    if local.date() == now.date():
        return tr("today {time}", time=clock)
    if local.date() == (now - timedelta(days=1)).date():
        return tr("yesterday {time}", time=clock)
    locale = QLocale("zh_CN" if language.code == "zh_CN" else "en_GB")
    pattern = (
        ("M月d日" if language.code == "zh_CN" else "d MMM") if local.year == now.year else _date_with_year()
    )
    return f"{locale.toString(QDate(local.year, local.month, local.day), pattern)} {clock}"


def _date_with_year() -> str:
    return "yyyy年M月d日" if language.code == "zh_CN" else "d MMM yyyy"


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _scaled(value: float, base: int, units: tuple[str, ...]) -> str:
    power = 0
    scaled = float(value)
    while abs(scaled) >= base - base / 2000 and power < len(units) - 1:
        scaled /= base
        power += 1
    digits = f"{scaled:.0f}" if power == 0 and units[0] == "B" else _stripped(_three_digits(scaled))
    return f"{digits} {units[power]}".strip()


def _three_digits(value: float) -> str:
    if value == 0:
        return "0"
    before = math.floor(math.log10(abs(value))) + 1
    text = f"{value:.{min(8, max(0, 3 - before))}f}"
    return text


def _stripped(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
