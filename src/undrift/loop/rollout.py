"""Judges a challenger on live rows, after every window, by a test that may be looked at as often as one likes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from undrift.evaluation import ConfidenceSequence, confidence_sequence
from undrift.loop.model import Cycle, Rollout
from undrift.monitoring import Window

__all__ = ["Ruling", "rule"]

_FEW_ROWS = 50


class Ruling(msgspec.Struct, frozen=True):
    """What is to happen with a challenger now.

    Attributes:
        action: ``promote``, ``roll back``, ``next step`` or ``wait``.
        sentence: Why.
        evidence: The comparison behind it.
    """

    action: Literal["promote", "roll back", "next step", "wait"]
    sentence: str
    evidence: dict[str, Any]


def rule(rollout: Rollout, cycle: Cycle, windows: Sequence[Window], now: datetime) -> Ruling:
    """Rule on a challenger.

    Each window in which both versions scored the same labelled rows gives one difference of their mean losses. Windows,
    not rows, are the observations: rows of one day share their weather.

    Args:
        rollout: How it shall go.
        cycle: The cycle, in stage ``shadow`` or ``canary``.
        windows: Measured windows of the endpoint since the rollout began, without data faults.
        now: The moment, in event time.
    """
    champion, challenger = str(cycle.champion), str(cycle.challenger)
    gains = [
        window.versions[champion].loss - window.versions[challenger].loss
        for window in sorted(windows, key=lambda window: window.start)
        if champion in window.versions
        and challenger in window.versions
        and window.versions[challenger].rows >= _FEW_ROWS
    ]
    found = confidence_sequence(gains, alpha=rollout.alpha)
    evidence = {"gains": [round(gain, 6) for gain in gains], "interval": msgspec.to_builtins(found)}
    said = _said(found)
    since = cycle.rollout_since or cycle.stage_since
    if found.upper is not None and found.upper < 0:
        return Ruling("roll back", f"The challenger is worse: {said}.", evidence)
    # The project may declare fewer steps than when this one began.
    lasts = rollout.steps[cycle.step].duration_s if cycle.step < len(rollout.steps) else 0.0
    over = (now - cycle.stage_since).total_seconds() >= lasts
    if over and cycle.step + 1 < len(rollout.steps):
        return Ruling("next step", f"Nothing speaks against it so far: {said}.", evidence)
    if over and found.lower is not None and found.lower > -rollout.margin and found.mean >= rollout.worth:
        sure = f"surely not worse by more than {rollout.margin:g}"
        return Ruling("promote", f"The challenger is {sure}: {said}.", evidence)
    if (now - since).total_seconds() >= rollout.give_up_s:
        sentence = f"Not enough evidence for a change after {(now - since).days} days: {said}."
        return Ruling("roll back", sentence, evidence)
    return Ruling("wait", f"Not enough evidence yet: {said}.", evidence)


def _said(found: ConfidenceSequence) -> str:
    if not found.blocks:
        return "no window has labels yet"
    interval = "" if found.lower is None else f" [{found.lower:+.4f}, {found.upper:+.4f}]"
    return f"gain {found.mean:+.4f}{interval} in loss over {found.blocks} windows"
