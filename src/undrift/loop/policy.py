"""Decides whether to retrain: triggers, cool-down, budget, and what makes it wait."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from undrift.loop.model import Cycle, Retraining, parse_duration_s
from undrift.monitoring import Incident

__all__ = ["Decision", "decide"]


class Decision(msgspec.Struct, frozen=True):
    """Whether to retrain now, and why or why not."""

    action: Literal["retrain", "wait", "nothing"]
    trigger: str
    sentence: str
    incident: int | None = None


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
        elif last is not None and (now - last).total_seconds() >= parse_duration_s(rest):
            trigger, sentence = "schedule", f"{rest} have passed since the last retraining ended."
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
