"""What every way in has in common: what a source tells of, and the report of what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from undrift.tracking import DatasetUse, MetricSeries

__all__ = [
    "Count",
    "Problem",
    "Report",
    "Source",
    "SourceExperiment",
    "SourceFile",
    "SourceModel",
    "SourceRegistered",
    "SourceRun",
    "SourceVersion",
    "Tell",
    "batches",
]

Tell = Callable[[str], None]
"""Takes a line about how far the work is."""

_MOST_PROBLEMS = 1_000
T = TypeVar("T")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Give items in lists of at most so many, as they come.

    >>> list(batches("abc", 2))
    [['a', 'b'], ['c']]
    """
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


class Count(msgspec.Struct):
    """How many there were, and how many of them are new here."""

    found: int = 0
    added: int = 0


class Problem(msgspec.Struct, frozen=True):
    """Something that could not be brought in.

    Attributes:
        what: What kind of thing: ``run``, ``file`` …
        name: Which one, as the source calls it.
        reason: Why, in a sentence.
    """

    what: str
    name: str
    reason: str


class Report(msgspec.Struct):
    """What an import found, what it added, and what it could not bring in.

    Attributes:
        source: Where it came from.
        project: Where it went.
        counts: By kind of thing.
        problems: The first thousand that could not be brought in.
        left_out: How many more there are.
    """

    source: str
    project: str
    counts: dict[str, Count] = msgspec.field(default_factory=dict)
    problems: list[Problem] = msgspec.field(default_factory=list)
    left_out: int = 0

    def count(self, what: str, found: int, added: int) -> None:
        """Add to a count."""
        known = self.counts.setdefault(what, Count())
        known.found += found
        known.added += added

    def refuse(self, what: str, name: str, reason: str) -> None:
        """Say what could not be brought in."""
        if len(self.problems) < _MOST_PROBLEMS:
            # What a hostile source says has no length.
            self.problems.append(Problem(what, name[:300], reason[:1_000]))
        else:
            self.left_out += 1


class SourceFile(NamedTuple):
    """A file that belongs to a run, a logged model or a version.

    Attributes:
        path: Its path below its owner.
        size_bytes: Its size, where the source says it.
        at_ms: When it was written, where the source says it.
        pieces: Reads it.
    """

    path: str
    size_bytes: int | None
    at_ms: int | None
    pieces: Callable[[], Iterator[bytes]]


class SourceExperiment(msgspec.Struct, frozen=True):
    """An experiment as the source tells it; its id is a number where it can be kept."""

    id: str
    name: str
    created_ms: int
    updated_ms: int
    state: Literal["active", "deleted"] = "active"
    tags: dict[str, str] = {}


class SourceRun(msgspec.Struct, frozen=True):
    """A run as the source tells it.

    Attributes:
        id: Its id there.
        experiment_id: Its experiment there.
        name: Its name.
        status: ``running``, ``scheduled``, ``finished``, ``failed`` or ``killed``.
        started_ms: When it began.
        ended_ms: When it ended.
        state: Whether it was deleted.
        user: Who started it.
        parent_id: The run it is part of, by its id there.
        parameters: Its parameters.
        tags: Its tags.
        datasets: What it read.
        model_inputs: Ids of logged models it read.
        model_outputs: Ids of logged models it made, with the step.
        location: Where its files are.
    """

    id: str
    experiment_id: str
    name: str
    status: str
    started_ms: int
    ended_ms: int | None = None
    state: Literal["active", "deleted"] = "active"
    user: str = ""
    parent_id: str | None = None
    parameters: dict[str, Any] = {}
    tags: dict[str, str] = {}
    datasets: tuple[DatasetUse, ...] = ()
    model_inputs: tuple[str, ...] = ()
    model_outputs: tuple[tuple[str, int], ...] = ()
    location: str = ""


class SourceModel(msgspec.Struct, frozen=True):
    """A logged model as the source tells it; see `undrift.tracking.LoggedModel` for the fields."""

    id: str
    experiment_id: str
    name: str
    created_ms: int
    updated_ms: int
    type: str = ""
    source_run_id: str = ""
    status: Literal["pending", "ready", "upload_failed"] = "ready"
    status_message: str = ""
    state: Literal["active", "deleted"] = "active"
    parameters: dict[str, str] = {}
    tags: dict[str, str] = {}
    location: str = ""


class SourceVersion(msgspec.Struct, frozen=True):
    """A version of a registered model as the source tells it.

    Attributes:
        number: Its number.
        created_ms: When it was registered.
        updated_ms: When it last changed.
        source: Where its files come from, in the source's words.
        location: Where they are, when that is another place.
        run_id: The run that made it.
        run_link: Where that run can be looked at.
        model_id: The logged model it was made of.
        user: Who registered it.
        stage: Its stage.
        status: ``READY``, or what went wrong.
        description: What is special about it.
        tags: Words about it.
        deleted: Whether it was deleted there; then nothing else is known of it.
    """

    number: int
    created_ms: int
    updated_ms: int
    source: str = ""
    location: str = ""
    run_id: str = ""
    run_link: str = ""
    model_id: str = ""
    user: str = ""
    stage: str = "None"
    status: str = "READY"
    description: str = ""
    tags: dict[str, str] = {}
    deleted: bool = False


class SourceRegistered(msgspec.Struct, frozen=True):
    """A registered model as the source tells it, with all its versions."""

    name: str
    created_ms: int
    updated_ms: int
    description: str = ""
    tags: dict[str, str] = {}
    aliases: dict[str, int] = {}
    versions: tuple[SourceVersion, ...] = ()


class Source(Protocol):
    """Where experiments, runs, models and their files come from. What it cannot read it names in its report."""

    label: str
    """What the log calls it."""

    def experiments(self) -> Iterator[SourceExperiment]:
        """Give all experiments, also deleted ones."""

    def runs(self, experiment: SourceExperiment) -> Iterator[SourceRun]:
        """Give the runs of an experiment, also deleted ones."""

    def points(self, run: SourceRun) -> Iterator[MetricSeries]:
        """Give the points of a run, in pieces of at most 50,000."""

    def models(self, experiment: SourceExperiment) -> Iterator[SourceModel]:
        """Give the logged models of an experiment, also deleted ones where they can be seen."""

    def registered(self) -> Iterator[SourceRegistered]:
        """Give the registered models."""

    def files(self, owner: SourceRun | SourceModel | SourceVersion) -> Iterator[SourceFile]:
        """Give the files of a run, a logged model or a version."""

    def close(self) -> None:
        """Let go of files and connections."""
