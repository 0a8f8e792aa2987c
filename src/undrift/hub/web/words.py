"""How values read on a page: times in UTC, numbers, links."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec
from markupsafe import Markup

__all__ = [
    "address",
    "amount",
    "as_data",
    "as_json",
    "clock",
    "gist",
    "lasting",
    "number",
    "percent",
    "shorten",
    "size",
    "subject_address",
    "value_text",
    "when",
]

_TIME = Markup('<time datetime="{}"><span>{}</span> {}&nbsp;<abbr>UTC</abbr></time>')
_MOST_JSON = 4000
_SENTENCES = ("sentence", "reason", "title", "why", "diagnosis")


def clock(moment: datetime) -> str:
    """Write a moment in UTC, to the minute.

    >>> clock(datetime(2013, 4, 1, 12, 30, tzinfo=UTC))
    '2013-04-01 12:30'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def when(moment: datetime | None) -> Markup:
    """Write a moment for people and for programs; a dash when there is none."""
    if moment is None:
        return Markup("-")
    exact = moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    day, _, minute = clock(moment).partition(" ")
    return _TIME.format(exact, day, minute)


def lasting(duration: timedelta) -> str:
    """Write how long something lasts, in its largest unit.

    >>> lasting(timedelta(days=3, hours=7)), lasting(timedelta(minutes=1)), lasting(timedelta(seconds=5))
    ('3 days', '1 minute', '5 seconds')
    >>> lasting(timedelta(milliseconds=20))
    'under 1 second'
    """
    if timedelta() < duration < timedelta(seconds=1):
        return "under 1 second"
    seconds = max(0, int(duration.total_seconds()))
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return amount(seconds // length, unit)
    return amount(seconds, "second")


def amount(count: int, unit: str) -> str:
    """Write a count with its unit.

    >>> amount(1, "incident"), amount(1200, "row")
    ('1 incident', '1,200 rows')
    """
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def number(value: float | None) -> str:
    """Write a measured number to four digits; a dash when there is none.

    >>> number(0.412345), number(12.0), number(1234567.0), number(None)
    ('0.4123', '12', '1,234,567', '-')
    """
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if 10_000 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def value_text(value: Any) -> str:
    """Write a value that was logged as it is: all digits that tell it from another; a dash when there is none.

    >>> value_text(0.1), value_text(3), value_text("adam"), value_text(None), value_text([1, 2]), value_text(True)
    ('0.1', '3', 'adam', '-', '[1,2]', 'true')
    """
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, float):
        return f"{value:.10g}" if math.isfinite(value) else number(value)
    return msgspec.json.encode(value).decode()


def shorten(text: object, most: int) -> str:
    """Cut a text that is longer than so many characters, visibly.

    >>> shorten("gradient boosting", 9), shorten("tree", 9)
    ('gradient…', 'tree')
    """
    said = str(text)
    return said if len(said) <= most else said[: most - 1] + "…"


def size(size_bytes: int | None) -> str:
    """Write a number of bytes; a dash when it is not known.

    >>> size(0), size(1536), size(20 << 30), size(None)
    ('0 B', '1.5 KiB', '20 GiB', '-')
    """
    if size_bytes is None:
        return "-"
    amount_, units = float(size_bytes), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while amount_ >= 1024 and len(units) > 1:
        amount_ /= 1024
        units.pop(0)
    return f"{amount_:.3g} {units[0]}" if units[0] != "B" else f"{size_bytes} B"


def as_data(value: Any) -> Markup:
    r"""Write a value as JSON that can stand inside a script element: nothing in it can end that element.

    >>> as_data("</script>")
    Markup('"\\u003c/script\\u003e"')
    """
    text = msgspec.json.encode(value).decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - every sign that means something in HTML is escaped above


def percent(share: float) -> str:
    """Write a share; what is not all never reads as all, nor what is something as nothing.

    >>> percent(1.0), percent(0.9996), percent(0.5), percent(0.0004), percent(0.0)
    ('100 %', '>99 %', '50 %', '<1 %', '0 %')
    """
    if 0.99 < share < 1:
        return ">99 %"
    if 0 < share < 0.01:
        return "<1 %"
    return f"{share:.0%}".replace("%", " %")


def as_json(value: Any) -> str:
    """Write evidence so that it can be read, cut after some thousand characters."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return text if len(text) <= _MOST_JSON else text[:_MOST_JSON] + "\n… (cut; the whole is in the API)"


def gist(data: Mapping[str, Any]) -> str:
    """Return the sentence among the evidence of an event; empty when there is none.

    >>> gist({"alias": "champion", "reason": "It was better."})
    'It was better.'
    """
    return next((str(data[name]) for name in _SENTENCES if data.get(name)), "")


def address(*parts: object) -> str:
    """Write a path of the pages from its parts.

    >>> address("models", "flights", "a/b")
    '/models/flights/a%2Fb'
    """
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


def subject_address(subject: str, project: str) -> str:
    """Return where the subject of an event is shown; empty when it has no page.

    >>> subject_address("models/late/3", "flights"), subject_address("runs/1", "flights")
    ('/models/flights/late', '/runs/1')
    """
    kind, _, rest = subject.partition("/")
    name = rest.partition("/")[0]
    if not name:
        return ""
    if kind == "models":
        return address("models", project, name)
    if kind == "experiments":
        return address("runs", project, name)
    return address(kind, name) if kind in ("incidents", "endpoints", "runs") else ""
