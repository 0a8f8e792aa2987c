"""`undrift runs compare`: what differs between runs, and what changed in a file of their code."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from cyclopts import Parameter

from undrift.cli.options import ANYWHERE, Anywhere, connected
from undrift.cli.output import say, show_json, show_table
from undrift.cli.runs import say_link
from undrift.core.errors import Invalid

if TYPE_CHECKING:
    from undrift.tracking import Comparison

__all__ = ["compare"]

_SECTIONS = {
    "facts": "Run",
    "parameters": "Parameters",
    "metrics": "Metrics",
    "tags": "Tags",
    "inputs": "Data",
    "code": "Code",
    "environment": "Environment",
}


def compare(
    run_ids: Annotated[tuple[str, ...], Parameter(help="Ids of 2 to 100 runs; the first is compared with.")],
    /,
    *,
    code: Annotated[str, Parameter(help="Print what changed in this file between the first and the last run.")] = "",
    alike: Annotated[bool, Parameter(help="Show what is alike, too.")] = False,
    limit: Annotated[int, Parameter(help="At most so many rows of each section.")] = 50,
    where: Anywhere = ANYWHERE,
) -> None:
    """Compare runs: parameters, metrics, data, code, environment; what differs is shown."""
    if code and len(run_ids) < 2:
        raise Invalid("Compare at least two runs.", next_step="Name their ids.")
    with connected(where) as client:
        if code:
            text = client.tracking.compare_code(before=run_ids[0], after=run_ids[-1], path=code)
            if where.as_json:
                show_json({"before": run_ids[0], "after": run_ids[-1], "path": code, "diff": text})
                return
            say(text.rstrip("\n") or f"{code} is the same in both.")
            asked = urlencode({"before": run_ids[0], "after": run_ids[-1], "path": code})
            say_link(where, f"/runs/compare/code?{asked}")
            return
        found = client.tracking.compare_runs(run_ids=run_ids, alike=alike, limit=limit)
    if where.as_json:
        show_json(found)
        return
    _show(found)
    pairs = [*(("run", run_id) for run_id in run_ids), *([("alike", "true")] if alike else [])]
    say_link(where, f"/runs/compare?{urlencode(pairs)}")


def _show(found: Comparison) -> None:
    # The end of an id tells runs apart: they begin with the time.
    names = [f"{name[:24]} …{run_id[-6:]}" for run_id, name in zip(found.run_ids, found.names, strict=True)]
    differs = False
    for section, title in _SECTIONS.items():
        rows = getattr(found, section)
        same = found.alike.get(section, 0)
        if not rows:
            continue
        differs = differs or any(not row.same for row in rows)
        say(f"{title}{f' ({same} alike)' if same else ''}")
        show_table(["  Name", *names], [(f"  {row.name}", *(_said(value) for value in row.values)) for row in rows])
        say("")
    if not differs:
        say("Nothing differs.")
    for gap in found.gaps:
        say(gap)


def _said(value: Any) -> str:
    import msgspec

    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 80 else text[:79] + "…"
