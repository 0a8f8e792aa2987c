"""`undrift approve` and `undrift refuse`: what a person decides about a challenger."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from undrift.cli.options import ANYWHERE, Anywhere, connected
from undrift.cli.output import say, show_json

__all__ = ["approve", "refuse"]

_Cycle = Annotated[str, Parameter(name="CYCLE", help="Id of the cycle; `undrift status` says it.")]
_Reason = Annotated[str, Parameter(help="Why; kept with the decision.")]


def approve(cycle: _Cycle, /, *, reason: _Reason, where: Anywhere = ANYWHERE) -> None:
    """Let a challenger that awaits approval go on to its rollout."""
    _decide(cycle, reason, where, approve=True)


def refuse(cycle: _Cycle, /, *, reason: _Reason, where: Anywhere = ANYWHERE) -> None:
    """Refuse a challenger that awaits approval; the champion goes on."""
    _decide(cycle, reason, where, approve=False)


def _decide(cycle: str, reason: str, where: Anywhere, *, approve: bool) -> None:
    with connected(where) as client:
        decided = client.loop.decide_cycle(cycle_id=cycle, approve=approve, reason=reason)
    if where.as_json:
        show_json(decided)
        return
    what = f"Version {decided.challenger} of {decided.model}"
    say(f"{what} is approved; the worker goes on with its rollout." if approve else f"{what} is refused.")
