"""What commands print: JSON for programs; for people sentences, tables without boxes, and times in UTC."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["clean", "duration", "moment", "number", "say", "show_error", "show_fields", "show_json", "show_table"]


_LONG = 32


def clean(text: object) -> str:
    """Return text that can do nothing to a terminal: what others wrote may hold more than letters."""
    return "".join(one if one.isprintable() or one in "\n\t" else "\ufffd" for one in str(text))


def say(text: str) -> None:
    """Print a sentence, at once."""
    print(clean(text), flush=True)


def show_json(value: Any, file: TextIO | None = None) -> None:
    """Print one JSON document on one line, at once."""
    import msgspec

    print(msgspec.json.encode(value).decode(), file=file, flush=True)


def moment(at: datetime | None) -> str:
    """Return a moment for a table whose heading says that times are in UTC.

    >>> from datetime import UTC
    >>> moment(datetime(2013, 8, 5, tzinfo=UTC))
    '2013-08-05 00:00'
    """
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}"


def duration(span: timedelta) -> str:
    """Return a stretch of time in its largest unit.

    >>> duration(timedelta(days=8, hours=5)), duration(timedelta(seconds=90))
    ('8 days', '1 minute')
    """
    seconds = span.total_seconds()
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{max(seconds, 0):.0f} s"


def number(value: float | None) -> str:
    """Return a measured number with four digits that say something; nothing when there is none."""
    return "" if value is None else f"{value:.4g}"


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows below a line of headings; long texts wrap, everything else (ids, times) stays in one piece."""
    from rich.table import Table

    cells = [[" ".join(clean("" if value is None else value).split("\n")) for value in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    least = 0
    for place, name in enumerate(columns):
        width = max(len(name), *(len(row[place]) for row in cells), 0)
        wraps = width > _LONG
        table.add_column(name, overflow="fold", no_wrap=not wraps)
        least += (_LONG if wraps else width) + 2
    for row in cells:
        table.add_row(*row)
    _print(table, least)


def show_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print names with their values, one a line; those without a value are left out."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in fields:
        if value not in (None, "", (), {}):
            table.add_row(name, clean(value))
    _print(table)


def show_error(message: str, next_step: str) -> None:
    """Print what is wrong and what to do about it, a line each, where errors go."""
    for line in (message, next_step):
        if line:
            print(clean(line), file=sys.stderr, flush=True)


def _print(table: Any, least_width: int = 0) -> None:
    from rich.console import Console

    console: Console = Console(markup=False, highlight=False, emoji=False)
    if console.is_terminal:
        console.width = max(console.width, least_width)
        console.print(table)
        return
    # In a file or a pipe nothing wraps: a row is a line there.
    console.width = 10_000
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()), flush=True)
