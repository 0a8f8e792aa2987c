"""Decides whether to retrain: triggers, cool-down, budget, and what makes it wait."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from undrift.core.errors import Invalid
from undrift.loop.model import Cycle, Retraining
from undrift.monitoring import Incident

__all__ = ["Decision", "decide", "parse_duration_s"]

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


class Decision(msgspec.Struct, frozen=True):
    """Whether to retrain now, and why or why not."""

    action: Literal["retrain", "wait", "nothing"]
    trigger: str
    sentence: str
    incident: int | None = None


def parse_duration_s(text: str) -> float:
    """Return the seconds of a duration such as ``90d``, ``3h``, ``15m``.

    Raises:
        Invalid: It is not a number with one of the units s, m, h, d, w.

    >>> parse_duration_s("90d")
    7776000.0
    """
    try:
        value = float(text[:-1]) * _UNITS_S[text[-1:]]
    except (KeyError, ValueError):
        value = -1.0
    if not 0 <= value < 1e11:
        raise Invalid(f"{text!r} is no duration.", next_step="Write a number and a unit: 30s, 15m, 3h, 90d or 2w.")
    return value


def decide(retraining: Retraining, cycles: Sequence[Cycle], incidents: Sequence[Incident], now: datetime) -> Decision:
    """Decide whether to retrain.

    Args:
        retraining: What was declared.
        cycles: The endpoint's cycles, newest first; none is open.
        incidents: The endpoint's open incidents, diagnosed.
        now: The moment, in event time.
    """
    last = max((cycle.closed_at or cycle.opened_at for cycle in cycles), default=None)
    trigger, sentence, incident = "", "", None
    for one in retraining.on:
        kind, _, rest = one.partition(":")
        if kind == "performance":
            drop = next((found for found in incidents if found.cause == "performance drop"), None)
            if drop is not None:
                trigger, sentence, incident = "performance", f"Incident {drop.number}: {drop.diagnosis}", drop.number
                break
        elif kind == "schedule":
            if last is not None and (now - last).total_seconds() >= parse_duration_s(rest):
                trigger, sentence = "schedule", f"{rest} have passed since the last retraining ended."
        else:
            raise Invalid(f"{one!r} triggers nothing.", next_step="Use performance, or schedule:30d.")
    if not trigger:
        return Decision("nothing", "", "Nothing asks for a retraining.")
    fault = next((found for found in incidents if found.cause == "data fault"), None)
    if fault is not None:
        return Decision("wait", trigger, f"Incident {fault.number} is a data fault: wait until it is over.", incident)
    if last is not None and (now - last).total_seconds() < retraining.cooldown_s:
        return Decision("wait", trigger, f"The last one ended {(now - last).days} days ago: cooling down.", incident)
    since = now - timedelta(seconds=retraining.budget_s)
    spent = sum(cycle.trigger != "first version" and cycle.opened_at > since for cycle in cycles)
    if spent >= retraining.budget:
        return Decision("wait", trigger, f"The budget of {retraining.budget} retrainings is spent.", incident)
    return Decision("retrain", trigger, sentence, incident)
