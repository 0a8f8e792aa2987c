"""`undrift demo`: a real model through a real year, in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

__all__ = ["demo"]

demo = App(name="demo", help="Replay a real year with a model that undrift keeps right.", group_commands="Commands")


@demo.command
def flights(
    *,
    folder: Annotated[Path, Parameter(help="Where to; a run that was cut off goes on there.")] = Path("flights-demo"),
    report: Annotated[Path, Parameter(help="Where the page with charts is written.")] = Path("demo-report.html"),
    as_json: Annotated[bool, Parameter(name="--json", help="Print the figures as JSON and nothing else.")] = False,
) -> None:
    """Replay the flights of New York in 2013: will a flight arrive more than half an hour late?"""
    from undrift.demo.flights.run import run_demo

    run_demo(folder, as_json=as_json, report=report)
