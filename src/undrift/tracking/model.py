"""The noun of tracking: the run."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

__all__ = ["MetricPoint", "Run", "RunLink", "RunStatus"]

RunStatus = Literal["running", "finished", "failed"]


class RunLink(msgspec.Struct, frozen=True):
    """Something a run read or made; lineage is the graph of these.

    Attributes:
        role: ``input`` or ``output``.
        kind: What it is: ``dataset_version``, ``object``, ``tree``, ``code``, ``environment``.
        name: What the run calls it.
        ref: Its content address, or another id that never changes.
    """

    role: Literal["input", "output"]
    kind: str
    name: str
    ref: str


class MetricPoint(msgspec.Struct, frozen=True):
    """One value of a metric.

    Attributes:
        name: Of which metric; ``_loss`` falls and ``_score`` rises when things get better.
        value: The value; any float, not-a-number too.
        step: Which step of the run, from 0.
        time: When, in UTC.
    """

    name: str
    value: float
    step: int
    time: datetime


class Run(msgspec.Struct, frozen=True):
    """One execution: what went in, with what parameters, what came out.

    Attributes:
        id: Its id; a client may make it.
        project: Whose it is.
        experiment: The name under which comparable runs gather.
        name: A name for people.
        kind: ``training``, ``evaluation``, ``batch`` …
        status: ``running``, ``finished`` or ``failed``.
        started_at: When it began, by the context's clock.
        ended_at: When it ended.
        actor: Who started it.
        parent_id: The run it is part of.
        error: Why it failed.
        parameters: Its parameters, JSON-able.
        tags: Words about it.
        metrics: The last value of each metric.
        links: What it read and made.
    """

    id: str
    project: str
    experiment: str
    name: str
    kind: str
    status: RunStatus
    started_at: datetime
    ended_at: datetime | None
    actor: str
    parent_id: str | None = None
    error: str = ""
    parameters: dict[str, Any] = {}
    tags: dict[str, str] = {}
    metrics: dict[str, float | None] = {}
    links: tuple[RunLink, ...] = ()
