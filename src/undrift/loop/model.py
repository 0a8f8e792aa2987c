"""The loop's nouns: what may start a retraining, how a rollout goes, and the cycle that binds it together."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from undrift.core.errors import Invalid

__all__ = [
    "Cycle",
    "Diagnosis",
    "Retraining",
    "Rollout",
    "RolloutStep",
    "Stage",
    "TrainingWindow",
    "parse_duration_s",
    "without_wait",
]

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}

Stage = Literal["retraining", "awaiting approval", "shadow", "canary", "promoted", "rolled back", "refused"]
"""Where a cycle stands; the last three are its ends."""


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


class TrainingWindow(msgspec.Struct, frozen=True):
    """Which part of history to learn from.

    Attributes:
        kind: ``all``, ``recent`` (the last days only) or ``weighted`` (older rows count less: half every so many days).
        days: How many; 0 for ``all``.
    """

    kind: Literal["all", "recent", "weighted"]
    days: float = 0.0

    def __post_init__(self) -> None:
        if (self.kind == "all") != (self.days == 0) or self.days < 0:
            raise Invalid(f"A training window of kind {self.kind!r} cannot have {self.days:g} days.")

    def __str__(self) -> str:
        return self.kind if self.kind == "all" else f"{self.kind} {self.days:g} days"


class Retraining(msgspec.Struct, frozen=True, kw_only=True):
    """When to retrain, and on what.

    Attributes:
        on: Triggers: ``performance`` (an incident that is no data fault), ``schedule:30d`` (so long after the last
            one).
        cooldown_s: Seconds that must lie between two retrainings.
        budget: At most so many within ``budget_s`` seconds.
        budget_s: The time the budget is for.
        windows: Training windows to choose from, by test on held-out rows.
        held_out_s: Seconds of the newest labelled rows to test on.
    """

    on: tuple[str, ...] = ("performance",)
    cooldown_s: float = 7 * 86_400.0
    budget: int = 12
    budget_s: float = 365 * 86_400.0
    windows: tuple[TrainingWindow, ...] = (TrainingWindow("all"),)
    held_out_s: float = 14 * 86_400.0

    def __post_init__(self) -> None:
        for trigger in self.on:
            kind, _, rest = trigger.partition(":")
            if kind == "schedule":
                parse_duration_s(rest)
            elif trigger != "performance":
                raise Invalid(f"{trigger!r} triggers nothing.", next_step="Use performance, or schedule:30d.")
        if not self.windows:
            raise Invalid("There is no training window to choose from.", next_step="Declare one, such as all.")
        if self.held_out_s <= 0 or self.cooldown_s < 0 or self.budget < 0 or self.budget_s <= 0:
            raise Invalid(
                "A retraining holds out a stretch of rows, and has no cool-down or budget below 0.",
                next_step="Write held_out as 14d, cooldown as 7d, budget as 12.",
            )


class RolloutStep(msgspec.Struct, frozen=True):
    """One step: ``shadow`` answers nobody, ``canary`` answers a share of the traffic.

    Attributes:
        kind: Which.
        share: Part of the traffic, 0 to 1.
        duration_s: Seconds it lasts at least.
    """

    kind: Literal["shadow", "canary"]
    share: float
    duration_s: float


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """How a new version gets to all the traffic, and what stops it.

    After each window the losses of champion and challenger on the same rows are compared by a confidence sequence,
    which is valid at every look. The challenger goes back at once when it is surely worse; it is promoted after the
    last step when it is surely not worse by more than ``margin`` and better by ``worth``; it goes back when
    ``give_up_s`` have passed without enough evidence.

    Attributes:
        steps: In order; the shares rise.
        margin: How much worse it might be at most, in units of the loss.
        worth: How much better it must look, in units of the loss: a change has a cost of its own.
        alpha: The chance that the confidence sequence is ever wrong.
        give_up_s: Seconds after which no evidence is evidence enough to keep the champion.
        approval: Whether a person has to agree before the first step.
    """

    steps: tuple[RolloutStep, ...]
    margin: float = 0.05
    worth: float = 0.0
    alpha: float = 0.1
    give_up_s: float = 14 * 86_400.0
    approval: bool = False

    def __post_init__(self) -> None:
        shares = [step.share for step in self.steps]
        if shares != sorted(shares) or any(not 0 <= share <= 1 for share in shares):
            raise Invalid(f"The shares of a rollout rise from 0 to 1, not {shares}.")
        if any(step.duration_s < 0 or (step.kind == "shadow" and step.share != 0) for step in self.steps):
            raise Invalid("A shadow answers nothing, so its share is 0; and no step lasts less than nothing.")
        if not 0 < self.alpha < 1 or self.margin < 0 or self.give_up_s <= 0:
            raise Invalid("A rollout needs an alpha between 0 and 1, a margin of at least 0, and a time to give up.")


class Diagnosis(msgspec.Struct, frozen=True):
    """Why something is wrong, before anything is done about it.

    Attributes:
        cause: ``data fault``, ``label shift``, ``concept shift``, ``harder period`` or ``unclear``.
        sentence: For people.
        action: ``quarantine``, ``retrain`` or ``nothing``.
        evidence: The numbers behind it.
    """

    cause: str
    sentence: str
    action: Literal["quarantine", "retrain", "nothing"]
    evidence: dict[str, Any]


class Cycle(msgspec.Struct, frozen=True):
    """One turn of the loop at an endpoint: from the trigger to promotion or its end.

    Attributes:
        id: Its id, the same whenever the same turn is tried again.
        project: Whose.
        endpoint: Where.
        model: Of which model.
        stage: Where it stands.
        trigger: What started it: ``performance`` or ``schedule``.
        incident: Number of the incident that started it.
        reason: Why, in a sentence.
        opened_at: When it began, in event time.
        stage_since: Since when it stands there.
        rollout_since: Since when the challenger is compared on live rows.
        step: Which step of the rollout, from 0.
        champion: Version that answered when it began.
        challenger: Version it made.
        run_id: The run that trained it.
        evidence: What it went by: training window, gates, comparison, what a person decided, and, while it awaits
            approval, what it ``waits_for``.
        closed_at: When it ended.
        outcome: How, in a sentence.
    """

    id: str
    project: str
    endpoint: str
    model: str
    stage: Stage
    trigger: str
    incident: int | None
    reason: str
    opened_at: datetime
    stage_since: datetime
    rollout_since: datetime | None = None
    step: int = 0
    champion: int | None = None
    challenger: int | None = None
    run_id: str | None = None
    evidence: dict[str, Any] = {}
    closed_at: datetime | None = None
    outcome: str = ""

    @property
    def is_compared(self) -> bool:
        """Whether its challenger is on the route beside the champion, in a step or awaiting approval after the last."""
        if self.stage == "awaiting approval":
            return self.rollout_since is not None
        return self.stage in ("shadow", "canary")

    @property
    def waits_for(self) -> str:
        """What has to happen before it goes on, in a sentence; empty when it waits for nobody."""
        return str(self.evidence.get("waits_for", "")) if self.stage == "awaiting approval" else ""


def without_wait(evidence: dict[str, Any]) -> dict[str, Any]:
    """Return the evidence of a cycle that waits no more."""
    return {name: value for name, value in evidence.items() if name != "waits_for"}
