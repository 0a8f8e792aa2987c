"""Shows what came of the year: tables on the terminal, and a page of its own with charts."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from jinja2 import Environment, PackageLoader
from rich import box
from rich.console import Console
from rich.table import Table

from undrift.core.errors import Unavailable
from undrift.demo.flights.results import Results
from undrift.loop import Cycle

__all__ = ["print_results", "write_report"]

Summary = dict[str, float | int]


def print_results(console: Console, results: Results, summary: Summary) -> None:
    """Print the year: month by month, incidents, versions, and the accounts."""
    console.print()
    console.print(_months(results, summary))
    console.print(_incidents(results))
    console.print(_cycles(results))
    for line in _accounts(results, summary):
        console.print(line)


def write_report(path: Path, results: Results, summary: Summary) -> None:
    """Write the page: one file that needs nothing else.

    Raises:
        Unavailable: It cannot be written.
    """
    templates = Environment(loader=PackageLoader("undrift.demo.flights", "."), autoescape=True)
    page = templates.get_template("report.html").render(
        results=results,
        summary=summary,
        monthly=_monthly_chart(results),
        daily=_daily_chart(results),
        cycles=[(cycle, _version_story(cycle)) for cycle in results.cycles],
        accounts=_accounts(results, summary),
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise Unavailable(
            f"The report {path} cannot be written: {error.strerror}.", next_step="Run it in a folder you can write to."
        ) from None


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold", pad_edge=False)
    for name in columns:
        justify: Literal["right", "left"] = "right" if name.startswith("#") else "left"
        table.add_column(name.removeprefix("#"), justify=justify, overflow="fold")
    return table


def _months(results: Results, summary: Summary) -> Table:
    table = _table(
        "Log-loss by month (lower is better)",
        "month",
        "#labelled flights",
        "#never retrained",
        "#undrift",
        "#monthly, on everything",
    )
    for month in results.months:
        best = month.undrift_log_loss < month.never_log_loss
        table.add_row(
            month.month,
            f"{month.flights:,}",
            f"{month.never_log_loss:.4f}",
            f"[green]{month.undrift_log_loss:.4f}[/green]" if best else f"{month.undrift_log_loss:.4f}",
            f"{month.monthly_log_loss:.4f}",
        )
    table.add_section()
    table.add_row(
        "April-December",
        f"{sum(month.flights for month in results.months):,}",
        f"{results.never_log_loss:.4f}",
        f"[bold]{results.undrift_log_loss:.4f}[/bold]",
        f"{results.monthly_log_loss:.4f}",
    )
    table.add_row("retrainings", "", "0", str(summary["retrainings"]), str(max(len(results.months) - 1, 0)))
    return table


def _incidents(results: Results) -> Table:
    table = _table("Incidents", "#no.", "since", "until", "what", "whose", "what was done")
    for one in results.incidents:
        until = "open" if one.resolved_at is None else f"{one.resolved_at:%d %b}"
        table.add_row(str(one.number), f"{one.started_at:%d %b}", until, one.title, one.owner, one.action)
    return table


def _cycles(results: Results) -> Table:
    table = _table("The loop: what started it, and how it ended", "when", "why", "trained on", "version", "outcome")
    for cycle in results.cycles:
        table.add_row(
            f"{cycle.opened_at:%d %b}",
            cycle.trigger if cycle.incident is None else f"{cycle.trigger} (incident {cycle.incident})",
            str(cycle.evidence.get("window", "")),
            _version_story(cycle),
            cycle.outcome or cycle.stage,
        )
    return table


def _version_story(cycle: Cycle) -> str:
    if cycle.challenger is None:
        return ""
    closed = "" if cycle.closed_at is None else f" {cycle.closed_at:%d %b}"
    return f"{cycle.challenger} {cycle.stage}{closed}"


def _accounts(results: Results, summary: Summary) -> list[str]:
    found = [fault for fault in results.faults if fault.incident is not None]
    faults = "; ".join(
        f"{fault.name}: incident {fault.incident}, {fault.found_after_h:.0f} h after it began"
        if fault.incident is not None
        else f"{fault.name}: not found"
        for fault in results.faults
    )
    return [
        (
            f"Predictions: {summary['asked']:,} flights asked for, {summary['predictions']:,} predictions logged "
            f"({results.predictions.duplicates:,} asked twice and counted once, {summary['log_dropped']} lost)."
        ),
        (
            f"Labels: {summary['labels']:,} joined, {summary['unlabelled']:,} flights will never have one, "
            f"{summary['labels_parked']} wait for a prediction."
        ),
        (
            f"Data faults: {len(found)} of {len(results.faults)} found ({faults}). "
            f"Rows of a fault that a version learnt from: {summary['trained_on_faulty_rows']}."
        ),
        f"Promotions: {summary['promotions']}, of which worse on the following two weeks: {summary['bad_promotions']}.",
        f"Time: {summary['seconds']:.0f} s.",
    ]


_WIDTH, _HEIGHT = 960.0, 260.0
_LEFT, _BOTTOM, _TOP = 48.0, 28.0, 12.0


def _monthly_chart(results: Results) -> dict[str, object]:
    losses = [
        value
        for month in results.months
        for value in (month.never_log_loss, month.undrift_log_loss, month.monthly_log_loss)
    ]
    low, high = min(losses, default=0.0) * 0.95, max(losses, default=1.0) * 1.03
    step = (_WIDTH - _LEFT) / max(len(results.months), 1)

    def line(values: list[float]) -> str:
        return " ".join(
            f"{_LEFT + (place + 0.5) * step:.1f},{_y(value, low, high):.1f}" for place, value in enumerate(values)
        )

    return {
        "lines": [
            ("never retrained", "never", line([month.never_log_loss for month in results.months])),
            ("monthly, on everything", "monthly", line([month.monthly_log_loss for month in results.months])),
            ("undrift", "undrift", line([month.undrift_log_loss for month in results.months])),
        ],
        "ticks": [(month.month, _LEFT + (place + 0.5) * step) for place, month in enumerate(results.months)],
        "grid": _grid(low, high),
    }


def _daily_chart(results: Results) -> dict[str, object]:
    measured = [window for window in results.windows if window.served is not None]
    if not measured:
        return {}
    first, last = measured[0].start, measured[-1].end
    losses = [window.served.loss for window in measured if window.served is not None]
    low, high = 0.0, max(losses) * 1.03

    def x(moment: datetime) -> float:
        return _LEFT + (_WIDTH - _LEFT) * ((moment - first) / (last - first))

    points = " ".join(
        f"{x(window.start + (window.end - window.start) / 2):.1f},{_y(loss, low, high):.1f}"
        for window, loss in zip(measured, losses, strict=True)
    )
    return {
        "points": points,
        "grid": _grid(low, high),
        "incidents": [
            (
                x(max(one.started_at, first)),
                max(x(min(one.resolved_at or last, last)) - x(max(one.started_at, first)), 2.0),
                "fault" if one.cause == "data fault" else "drop",
                f"{one.number}: {one.title}",
            )
            for one in results.incidents
        ],
        "promotions": [(x(one.at), f"version {one.version}") for one in results.promotions],
        "ticks": [(f"{moment:%b}", x(moment)) for moment in _months_between(first, last)],
    }


def _months_between(first: datetime, last: datetime) -> list[datetime]:
    months, moment = [], first.replace(day=1)
    while moment < last:
        if moment >= first:
            months.append(moment)
        moment = (moment + timedelta(days=32)).replace(day=1)
    return months


def _y(value: float, low: float, high: float) -> float:
    return _TOP + (_HEIGHT - _BOTTOM - _TOP) * (1.0 - (value - low) / (high - low))


def _grid(low: float, high: float) -> list[tuple[float, str]]:
    step = 0.1 if high - low > 0.25 else 0.05
    first = int(low / step) + 1
    values = [round(step * number, 2) for number in range(first, int(high / step) + 1)]
    return [(_y(value, low, high), f"{value:.2f}") for value in values]
