"""What the page that compares runs shows: what differs, curves, parallel coordinates, a scatter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Invalid
from undrift.hub.web.asked import CompareAsked, DiffAsked
from undrift.hub.web.runs import run_address, usual_metrics
from undrift.tracking import (
    CompareCode,
    CompareRuns,
    Comparison,
    Difference,
    FindRun,
    compare_code,
    compare_runs,
    find_run,
)

__all__ = ["Axis", "CompareView", "DiffLine", "DiffView", "Section", "compare_view", "diff_view", "numeric"]

_CELLS = 4_000
_ROWS = 200
_LEAST_ROWS = 20
_AXES = 8
_MOST_AXES = 16
_KINDS = 30
_DIFF_LINES = 2_000
_MARKS = {"+": "added", "-": "removed", "@": "place"}


class Section(msgspec.Struct, frozen=True):
    """One kind of difference.

    Attributes:
        name: Which, as in the comparison.
        title: How it is called.
        rows: What differs, and what is alike where that was asked for.
        alike: How many are the same in all runs.
    """

    name: str
    title: str
    rows: tuple[Difference, ...]
    alike: int


class Axis(msgspec.Struct, frozen=True):
    """Values of all runs that something can be drawn over.

    Attributes:
        name: Such as ``parameters.depth``.
        kind: ``number``, or ``word`` for what is none.
        values: One for each run; none where a run has none.
    """

    name: str
    kind: str
    values: tuple[float | str | None, ...]


class CompareView(msgspec.Struct, frozen=True):
    """Runs side by side.

    Attributes:
        asked: What was asked for, with what was chosen in its place where nothing was.
        comparison: What differs.
        sections: The same, in the order in which it is shown.
        metrics: Metrics whose curves can be drawn.
        axes: What can be drawn over.
        parallel: Names of the axes that the parallel coordinates have.
        across: The axis that the scatter is drawn over.
        up: The axis that the scatter shows.
    """

    asked: CompareAsked
    comparison: Comparison
    sections: tuple[Section, ...]
    metrics: list[str]
    axes: list[Axis]
    parallel: list[str]
    across: str
    up: str

    @property
    def path(self) -> str:
        """Where this page is."""
        return "/runs/compare"

    @property
    def limit(self) -> int:
        """How many rows of each section are shown at most."""
        return self.asked.limit or _limit(len(self.asked.run))

    @property
    def is_cut(self) -> bool:
        """Whether rows are left out."""
        return any(len(section.rows) >= self.limit for section in self.sections)

    @property
    def runs(self) -> list[tuple[str, str, str]]:
        """Ids, names and addresses of the runs."""
        found = self.comparison
        pairs = zip(found.run_ids, found.names, strict=True)
        return [(run_id, name or run_id, run_address(run_id)) for run_id, name in pairs]

    def without(self, run_id: str) -> tuple[str, ...]:
        """Return the runs without one."""
        return tuple(one for one in self.asked.run if one != run_id)

    def curves_query(self, metric: str) -> str:
        """Return the query string for the points of a metric."""
        return urlencode([("metric", metric), *(("run", run_id) for run_id in self.asked.run)])

    @property
    def drawn_as_json(self) -> dict[str, Any]:
        """What the script has to know."""
        axes = {axis.name: {"name": axis.name, "kind": axis.kind, "values": axis.values} for axis in self.axes}
        return {
            "runs": [{"id": run_id, "name": name[:60], "link": link} for run_id, name, link in self.runs],
            "x": self.asked.x,
            "log": self.asked.log,
            "smooth": self.asked.smooth,
            "parallel": [axes[name] for name in self.parallel],
            "across": axes.get(self.across),
            "up": axes.get(self.up),
        }


class DiffLine(msgspec.Struct, frozen=True):
    """A line of a unified diff, and what it is: ``added``, ``removed``, ``place``, ``file`` or nothing."""

    kind: str
    text: str


class DiffView(msgspec.Struct, frozen=True):
    """What changed in a file between two runs; ``left_out`` says how many lines are not shown."""

    asked: DiffAsked
    names: tuple[str, str]
    lines: tuple[DiffLine, ...]
    left_out: int


def compare_view(ctx: Context, asked: CompareAsked) -> CompareView:
    """Read the comparison of runs.

    Raises:
        NotFound: One of them is not there.
        Invalid: There are fewer than two.
        TooLarge: There are more than 100.
    """
    if len(asked.run) < 2:
        raise Invalid("A comparison takes at least two runs.", next_step="Go back and tick two or more.")
    limit = asked.limit or _limit(len(asked.run))
    found = compare_runs(ctx, CompareRuns(asked.run, asked.alike, limit))
    titles = {
        "parameters": "Parameters",
        "metrics": "Metrics",
        "inputs": "Data",
        "code": "Code",
        "environment": "Environment",
        "tags": "Tags",
        "facts": "Run",
    }
    sections = tuple(
        Section(name, title, getattr(found, name), found.alike.get(name, 0)) for name, title in titles.items()
    )
    metrics = [row.name for row in found.metrics]
    if not metrics and asked.run:
        # All end alike; how they got there may differ.
        metrics = [one.name for one in find_run(ctx, FindRun(asked.run[0], latest=True)).latest][:_ROWS]
    # What most runs have comes first: what one alone has cannot be compared.
    without = {row.name: sum(value is None for value in row.values) for row in found.metrics}
    usual = usual_metrics(sorted(metrics, key=lambda name: without.get(name, 0)), len(metrics))
    axes = list(_axes(found))
    names = [axis.name for axis in axes]
    measures = [f"metrics.{name}" for name in usual if f"metrics.{name}" in names]
    knobs = [axis for axis in axes if axis.name.startswith("parameters.")]
    numbers = [axis.name for axis in knobs if axis.kind == "number"]
    # Words on an axis can be told apart only while they are few.
    parallel = [name for name in asked.axis if name in names][:_MOST_AXES] or [
        *[axis.name for axis in knobs if axis.kind == "number" or len(set(axis.values)) <= _KINDS][: _AXES - 1],
        *measures[:1],
    ]
    across = asked.across if asked.across in names else next(iter([*numbers, *measures[1:], *measures]), "")
    up = asked.up if asked.up in names else next(iter([*measures, *numbers]), "")
    drawn = asked.metric[:4] or usual[:1]
    return CompareView(
        asked=msgspec.structs.replace(asked, metric=drawn),
        comparison=found,
        sections=sections,
        metrics=metrics,
        axes=axes,
        parallel=parallel if len(parallel) > 1 else [],
        across=across,
        up=up,
    )


def _limit(runs: int) -> int:
    return max(_LEAST_ROWS, min(_ROWS, _CELLS // max(1, runs)))


def _axes(found: Comparison) -> Iterable[Axis]:
    for section in ("parameters", "metrics"):
        for row in getattr(found, section):
            name = f"{section}.{row.name}"
            numbers = [numeric(value) for value in row.values]
            if all(number is not None or value is None for number, value in zip(numbers, row.values, strict=True)):
                yield Axis(name, "number", tuple(None if n is None or not math.isfinite(n) else n for n in numbers))
            else:
                yield Axis(name, "word", tuple(None if value is None else _word(value) for value in row.values))


def numeric(value: Any) -> float | None:
    """Return the number that a value is, or that a text stands for; None when it is none.

    >>> numeric(3), numeric("1e-3"), numeric("tree"), numeric(True), numeric("NaN")
    (3.0, 0.001, None, None, nan)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _word(value: Any) -> str:
    text = value.isoformat() if isinstance(value, datetime) else value if isinstance(value, str) else None
    return (msgspec.json.encode(value).decode() if text is None else text)[:40]


def diff_view(ctx: Context, asked: DiffAsked) -> DiffView:
    """Read what changed in a file between two runs.

    Raises:
        NotFound: A run is not there, or neither has this file.
        TooLarge: The file is too large to be compared.
    """
    text = compare_code(ctx, CompareCode(asked.before, asked.after, asked.path))
    lines = text.splitlines()
    before, after = (find_run(ctx, FindRun(run_id)).name or run_id for run_id in (asked.before, asked.after))
    return DiffView(asked, (before, after), tuple(_lines(lines[:_DIFF_LINES])), max(0, len(lines) - _DIFF_LINES))


def _lines(lines: Sequence[str]) -> Iterable[DiffLine]:
    for place, line in enumerate(lines):
        if place < 2 and line.startswith(("---", "+++")):
            yield DiffLine("file", line)
        else:
            yield DiffLine(_MARKS.get(line[:1], ""), line)
