"""What is told of a version: where it stood, what it was made from, and which of this nobody knows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from undrift.registry.mlmodel import signature_gaps
from undrift.registry.model import AliasMove, ApprovalRequest, Decision, Model, ModelVersion, Signature, StageMove
from undrift.tracking import RunLink

__all__ = ["Card", "RunFacts", "Standing", "gaps_of", "render", "sentence_of"]

# What means something in Markdown, or in the HTML that it becomes.
_MARKS = re.compile(r"([\\`*_{}\[\]<>()#+!|~&])")


class RunFacts(msgspec.Struct, frozen=True):
    """What the run of a version recorded.

    Attributes:
        id: Its id.
        experiment: The name under which comparable runs gather.
        name: A name for people.
        status: How it ended.
        actor: Who started it.
        started_at: When it began.
        ended_at: When it ended.
        parameters: Its parameters.
        metrics: The newest value of each metric.
        code: The code it ran.
        environment: The environment it ran in.
        data: What else it read: datasets with their version.
    """

    id: str
    experiment: str
    name: str
    status: str
    actor: str
    started_at: datetime
    ended_at: datetime | None
    parameters: dict[str, Any]
    metrics: dict[str, float | None]
    code: tuple[RunLink, ...]
    environment: tuple[RunLink, ...]
    data: tuple[RunLink, ...]


class Standing(msgspec.Struct, frozen=True):
    """What stood where an alias points, at a moment.

    Attributes:
        project: Whose the model is.
        model: Name of the model.
        alias: The alias.
        moment: The moment.
        version: What stood there; None when nothing did.
        move: The move that put it there, or took away what stood there; None when there was none yet.
        since: Since when it was so; None when it was so from the beginning.
        until: Until when it was so; None when it still is.
        approvals: The approvals that counted when it was put there.
        run: What it was made from.
        gaps: What nobody knows of it.
        sentence: All this for people, in short.
    """

    project: str
    model: str
    alias: str
    moment: datetime
    version: ModelVersion | None
    move: AliasMove | None
    since: datetime | None
    until: datetime | None
    approvals: tuple[Decision, ...]
    run: RunFacts | None
    gaps: tuple[str, ...]
    sentence: str


class Card(msgspec.Struct, frozen=True):
    """The card of a version.

    Attributes:
        model: The model.
        version: The version: training data, metrics, signature, trust.
        intended_use: What it is for, from tag ``intended_use`` or the model's description.
        run: What it was made from; None when that is not known.
        approvals: What was asked and decided about it, newest first.
        moves: Moves of aliases to it and away, newest first.
        stages: Its moves between stages, newest first.
        gaps: What nobody knows of it, in words.
        markdown: All this as a page.
    """

    model: Model
    version: ModelVersion
    intended_use: str
    run: RunFacts | None
    approvals: tuple[ApprovalRequest, ...]
    moves: tuple[AliasMove, ...]
    stages: tuple[StageMove, ...]
    gaps: tuple[str, ...]
    markdown: str


def gaps_of(
    version: ModelVersion,
    run: RunFacts | None,
    *,
    model: Model | None = None,
    approvals: Sequence[ApprovalRequest] | None = None,
) -> list[str]:
    """Say in words what is not known of a version.

    Args:
        version: The version.
        run: What its run recorded.
        model: Its model, for what a card says of it.
        approvals: What was asked and decided about it, likewise.
    """
    gaps = [*_gaps_of_origin(version, run), *_gaps_of_files(version)]
    if not version.metrics:
        gaps.append("no metrics: nothing says how good it was when it was registered")
    if version.reference_profile is None:
        gaps.append("no profile of its training data: drift has nothing to be measured against")
    if model is not None:
        if not model.owner:
            gaps.append("no owner: nobody hears when something is wrong")
        if not (model.description or model.tags.get("intended_use") or version.tags.get("intended_use")):
            gaps.append("no intended use: neither a description nor a tag 'intended_use' says what it is for")
    if approvals is not None and not any(one.state == "approved" for one in approvals):
        gaps.append("no approval: no second person has agreed to it")
    return gaps


def _gaps_of_origin(version: ModelVersion, run: RunFacts | None) -> list[str]:
    gaps = []
    if version.run_id is None:
        gaps.append("no run: nothing says how it was made")
    elif run is None:
        gaps.append(f"its run {version.run_id} is not here: nothing says how it was made")
    else:
        if run.status != "finished":
            gaps.append(f"its run is {run.status}, not finished")
        if not run.code:
            gaps.append("its run did not record the code")
        if not run.environment:
            gaps.append("its run did not record the environment")
    if not version.training.get("datasets") and not (run and run.data):
        gaps.append("trained on data whose version is unknown")
    return gaps


def _gaps_of_files(version: ModelVersion) -> list[str]:
    gaps = []
    if version.artifact is None:
        said = f" (a client named {version.source})" if version.source else ""
        gaps.append(f"no files in the store{said}: it cannot be loaded from here")
    if version.format is None:
        gaps.append("no format: nobody said how its bytes are to be read")
    if version.signature is None:
        gaps.append("no signature: serving can check nothing")
    if version.raw_signature is not None:
        gaps += [f"signature: {gap}" for gap in signature_gaps(version.raw_signature)]
    if version.unsafe and version.trust is None:
        gaps.append(f"loading it could run any code, and nobody answers for it: {'; '.join(version.unsafe[:3])}")
    return gaps


def sentence_of(standing: Standing) -> str:
    """Say in a sentence or two who stood where, who put it there and why.

    Times are in UTC, to the second.
    """
    what, name = standing.alias, f"{standing.model!r}"
    until = "" if standing.until is None else f" until {_moment(standing.until)}"
    version, move = standing.version, standing.move
    if move is None:
        came = "it never was" if standing.until is None else f"it was put there first on {_moment(standing.until)}"
        return f"Nothing was the {what} of {name} on {_moment(standing.moment)}: {came}."
    why = f": {move.reason}" if move.reason else ", without giving a reason."
    if version is None:
        before = f"version {move.previous} was taken away" if move.previous else "it was taken away"
        return (
            f"Nothing was the {what} of {name} on {_moment(standing.moment)}: {before} by {move.actor} on "
            f"{_moment(move.at)}{f', and nothing took its place{until}' if until else ''}{why}"
        )
    approved = ", ".join(one.actor for one in standing.approvals)
    deleted = f" It was deleted since: {version.state_reason}" if version.state == "deleted" else ""
    return (
        f"Version {version.number} was the {what} of {name} on {_moment(standing.moment)}. {move.actor} put it there "
        f"on {_moment(move.at)}, where it stood{until or ' ever since'}{why}"
        f"{f' Approved by {approved}.' if approved else ''}{deleted}"
    )


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _plain(text: object) -> str:
    """Return text that means nothing but itself in Markdown: what others wrote makes no page of its own."""
    return _MARKS.sub(r"\\\1", " ".join(str(text).split())).replace("<", "&lt;").replace("\\&lt;", "&lt;")


def _code(text: object) -> str:
    return f"`{' '.join(str(text).replace('`', ' ').split())}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(_plain(cell) for cell in row)} |" for row in rows]
    return [*lines, ""]


def render(card: Card) -> str:
    """Write a card as Markdown; texts of others stand in it as text."""
    version, model = card.version, card.model
    lines = [f"# {_plain(model.name)}, version {version.number}", ""]
    if model.description:
        lines += [_plain(model.description), ""]
    if version.description:
        lines += [_plain(version.description), ""]
    lines += ["## What is missing", ""]
    lines += [f"- {_plain(gap)}" for gap in card.gaps] or ["Nothing that is asked for here."]
    lines += ["", "## Intended use", "", _plain(card.intended_use) or "Nobody said.", ""]
    lines += ["## Facts", ""]
    lines += _table(["Fact", "Value"], _facts(card))
    lines += ["## Signature", "", *_signature(version.signature)]
    lines += ["## Training", "", *_training(card)]
    lines += ["## Metrics", ""]
    metrics = sorted(version.metrics.items())
    lines += (
        _table(["Metric", "Value"], [(name, f"{value:.6g}") for name, value in metrics]) if metrics else ["None.", ""]
    )
    lines += ["## Approvals", ""]
    decided = [
        (one.alias, one.state, one.asked_by, f"{said.actor} {'approved' if said.approve else 'refused'}", said.reason)
        for one in card.approvals
        for said in one.decisions
    ]
    decided += [(one.alias, one.state, one.asked_by, "", one.reason) for one in card.approvals if not one.decisions]
    lines += _table(["Alias", "State", "Asked by", "Decision", "Why"], decided) if decided else ["Nobody asked.", ""]
    lines += ["## History", ""]
    moved = [
        *((one.at, one.alias, "" if one.number is None else one.number, one.actor, one.reason) for one in card.moves),
        *((one.at, f"stage {one.stage}", one.number, one.actor, one.reason) for one in card.stages),
    ]
    moved.sort(key=lambda row: row[0], reverse=True)
    rows = [(_moment(at), *rest) for at, *rest in moved]
    lines += _table(["When", "What", "Version", "By", "Why"], rows) if rows else ["It never had an alias.", ""]
    return "\n".join(lines)


def _facts(card: Card) -> list[tuple[str, object]]:
    version, run = card.version, card.run
    facts: list[tuple[str, object]] = [
        ("Project", version.project),
        ("Owner", card.model.owner),
        ("State", f"{version.state}: {version.state_reason}" if version.state_reason else version.state),
        ("Aliases", ", ".join(version.aliases)),
        ("Stage", "" if version.stage == "None" else version.stage),
        ("Registered", f"{_moment(version.created_at)} by {version.created_by}"),
        ("Format", version.format or ""),
        ("Files", version.artifact or ""),
        ("Source", version.source),
        ("Run", version.run_id or ""),
        ("Logged model", version.logged_model_id or ""),
        ("Reference profile", version.reference_profile or ""),
        ("Trust", "" if version.trust is None else f"{version.trust.by}: {version.trust.reason}"),
        ("Tags", ", ".join(f"{key}={value}" for key, value in version.tags.items())),
    ]
    if run is not None:
        facts += [
            ("Experiment", run.experiment),
            ("Run by", run.actor),
            ("Code", ", ".join(link.ref for link in run.code)),
            ("Environment", ", ".join(link.ref for link in run.environment)),
            ("Parameters", ", ".join(f"{key}={value}" for key, value in sorted(run.parameters.items()))),
        ]
    return [(name, value) for name, value in facts if value != ""]


def _signature(signature: Signature | None) -> list[str]:
    if signature is None:
        return ["None: serving can check nothing.", ""]
    rows = [
        (field.name, field.type, "yes" if field.nullable else "no", ", ".join(field.categories[:10]))
        for field in signature.inputs
    ]
    gives = {"classification": "the probability of", "regression": "a number,", "other": "something unchecked,"}
    said = f"Gives {gives[signature.task]} {_code(signature.output)}."
    return [*_table(["Input", "Type", "May be missing", "Categories"], rows), said, ""]


def _training(card: Card) -> list[str]:
    rows: list[tuple[str, object]] = []
    for name, value in sorted(card.version.training.items()):
        shown = value if isinstance(value, str | int | float) else msgspec.json.encode(value).decode()
        rows.append((name, shown))
    rows += [] if card.run is None else [(f"{link.kind} {link.name}", link.ref) for link in card.run.data]
    return _table(["What", "Value"], rows) if rows else ["Nothing is recorded.", ""]
