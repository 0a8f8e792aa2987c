"""What can be done with endpoints and their routes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, NotFound
from undrift.core.ids import check_name
from undrift.core.operation import operation
from undrift.registry import FindVersion, ModelVersion, find_version
from undrift.serving import records
from undrift.serving.model import (
    LOG_COLUMNS,
    Arm,
    ArmName,
    PredictionAccount,
    Route,
    RoutingTable,
    check_arms,
    misfits,
)

if TYPE_CHECKING:
    import sqlalchemy as sa

__all__ = [
    "FindAccount",
    "FindRoute",
    "ListEndpoints",
    "ReadRoutingTable",
    "RouteHistory",
    "SetArm",
    "SetRoute",
    "account",
    "find_route",
    "list_endpoints",
    "route_history",
    "routing_table",
    "set_route",
]


class SetArm(msgspec.Struct, frozen=True):
    """A version to put on a route; see `undrift.serving.Arm` for the fields."""

    name: ArmName
    number: int
    share: float


class SetRoute(msgspec.Struct, frozen=True):
    """Who shall answer at an endpoint from now on, why, and on what evidence.

    Attributes:
        project: Whose the endpoint is.
        endpoint: Its name; it is made when it is not there.
        model: The model whose versions answer.
        arms: One champion, and at most one canary or shadow; the shares sum to 1.
        reason: Why, in a sentence.
        compare: Let every arm score every row, so that they can be compared in pairs.
        evidence: What it is based on.
        expected: The revision the caller believes the endpoint's route has (0: none yet); left out when it does not
            matter.
    """

    project: str
    endpoint: str
    model: str
    arms: tuple[SetArm, ...]
    reason: str
    compare: bool = False
    evidence: dict[str, Any] = {}
    expected: int | None = None


class FindRoute(msgspec.Struct, frozen=True):
    """Which endpoint's route, as it stood at a moment (now when left out)."""

    endpoint: str
    as_of: datetime | None = None


class ListEndpoints(msgspec.Struct, frozen=True):
    """Of which project; of all when left out."""

    project: str | None = None


class RouteHistory(msgspec.Struct, frozen=True):
    """Of which endpoint, at most so many (1 to 1,000), newest first."""

    endpoint: str
    limit: int = 100


class ReadRoutingTable(msgspec.Struct, frozen=True):
    """The whole table."""


class FindAccount(msgspec.Struct, frozen=True):
    """Of which endpoint."""

    endpoint: str


def _current(tx: sa.Connection, endpoint: str) -> Route:
    route = records.find_route(tx, endpoint)
    if route is None:
        known = [one.endpoint for one in records.current_routes(tx)]
        raise NotFound(
            f"There is no endpoint {endpoint[:100]!r}.",
            next_step=f"Known are: {', '.join(known[:20])}." if known else "None was made yet: deploy a model version.",
            endpoint=endpoint[:100],
        )
    return route


@operation("serving.set_route", permission="serving:deploy", emits=("endpoint.route_changed",))
def set_route(ctx: Context, request: SetRoute) -> Route:
    """Decide who answers at an endpoint; the history keeps who, when, why and on what evidence.

    Returns the route that is there when nothing would change.

    Raises:
        NotFound: There is no such model or version.
        Invalid: The arms do not make a route.
        Conflict: A version is retired or not of a format that model servers run, the challenger cannot score what the
            champion takes, the endpoint belongs to another project, or its route is not the one the caller expected.
    """
    with ctx.begin() as tx:
        records.lock_routes(tx)
        versions = [_version(ctx, request, arm) for arm in request.arms]
        arms = check_arms(
            request.endpoint,
            [
                Arm(arm.name, arm.number, version.files, arm.share)
                for arm, version in zip(request.arms, versions, strict=True)
            ],
        )
        for version in versions:
            _check_columns(version)
        _check_challenger(arms, {version.number: version for version in versions})
        current = records.find_route(tx, request.endpoint)
        _check_expected(request, current)
        if current is not None and (current.model, current.arms, current.compare) == (
            request.model,
            arms,
            request.compare,
        ):
            return current
        route = Route(
            endpoint=request.endpoint,
            project=request.project,
            model=request.model,
            revision=records.newest_revision(tx) + 1,
            arms=arms,
            compare=request.compare,
            at=ctx.now(),
            actor=ctx.actor.name,
            reason=request.reason,
            evidence=request.evidence,
        )
        records.add_route(tx, route)
        ctx.emit(
            "endpoint.route_changed",
            f"endpoints/{route.endpoint}",
            project=route.project,
            model=route.model,
            revision=route.revision,
            arms=route.arms,
            compare=route.compare,
            previous=None if current is None else {"revision": current.revision, "arms": current.arms},
            reason=route.reason,
            evidence=route.evidence,
        )
        return route


def _version(ctx: Context, request: SetRoute, arm: SetArm) -> ModelVersion:
    version = find_version(ctx, FindVersion(request.project, request.model, number=arm.number))
    if version.state == "retired":
        raise Conflict(
            f"Version {version.number} of {version.model!r} is retired: {version.state_reason}",
            next_step="Choose another version; a retired one is kept for the record only.",
        )
    if version.format != "onnx":
        raise Conflict(
            f"Version {version.number} of {version.model!r} is of format {version.format or 'unknown'}, and model "
            "servers answer with ONNX only.",
            next_step="Convert it to ONNX, and register it with its signature.",
        )
    return version


def _check_columns(version: ModelVersion) -> None:
    taken = sorted({field.name for field in version.contract.inputs} & set(LOG_COLUMNS))
    if taken:
        raise Conflict(
            f"Version {version.number} of {version.model!r} has inputs named {', '.join(taken)}, which the prediction "
            "log keeps for itself.",
            next_step="Rename these columns in the feature view and train again.",
            columns=taken,
        )


def _check_challenger(arms: tuple[Arm, ...], versions: dict[int, ModelVersion]) -> None:
    if len(arms) < 2:
        return
    champion, challenger = arms
    said = misfits(versions[champion.number].contract, versions[challenger.number].contract)
    if said:
        raise Conflict(
            f"Version {challenger.number} cannot be a {challenger.name} beside version {champion.number}: "
            f"{'; '.join(said[:10])}.",
            next_step="Train it on the same columns, nullable where the champion's are, or make it the champion of an "
            "endpoint of its own.",
            problems=said[:100],
        )


def _check_expected(request: SetRoute, current: Route | None) -> None:
    if current is not None and current.project != request.project:
        raise Conflict(
            f"The endpoint {request.endpoint!r} belongs to project {current.project!r}.",
            next_step="Choose another name: endpoints are unique in the workspace.",
        )
    revision = 0 if current is None else current.revision
    if request.expected not in (None, revision):
        raise Conflict(
            f"The route of {request.endpoint!r} has revision {revision}, not {request.expected}.",
            next_step="Somebody changed it meanwhile: look at its history, then decide again.",
            actual=revision,
        )


@operation("serving.find_route", permission="serving:read")
def find_route(ctx: Context, request: FindRoute) -> Route:
    """Return who answers at an endpoint, now or at an earlier moment.

    Raises:
        NotFound: There is no such endpoint, or there was none yet at that moment.
    """
    with ctx.read() as tx:
        current = _current(tx, request.endpoint)
        if request.as_of is None:
            return current
        route = records.find_route(tx, request.endpoint, as_of=request.as_of)
        if route is None:
            raise NotFound(
                f"The endpoint {request.endpoint!r} had no route on {request.as_of.isoformat()}.",
                next_step="Its history says since when it has one.",
            )
        return route


@operation("serving.list_endpoints", permission="serving:read")
def list_endpoints(ctx: Context, request: ListEndpoints) -> list[Route]:
    """List the endpoints, each with its route of now, by name."""
    if request.project is not None:
        check_name(request.project, "project")
    with ctx.read() as tx:
        return records.current_routes(tx, request.project)


@operation("serving.route_history", permission="serving:read")
def route_history(ctx: Context, request: RouteHistory) -> list[Route]:
    """List every route an endpoint has had, newest first.

    Raises:
        NotFound: There is no such endpoint.
    """
    with ctx.read() as tx:
        _current(tx, request.endpoint)
        return records.list_routes(tx, request.endpoint, limit=max(1, min(request.limit, 1000)))


@operation("serving.routing_table", permission="serving:read")
def routing_table(ctx: Context, request: ReadRoutingTable) -> RoutingTable:  # noqa: ARG001 - an operation takes two
    """Return the newest route of every endpoint: what a model server needs to know."""
    with ctx.read() as tx:
        found = records.current_routes(tx)
        return RoutingTable(max((route.revision for route in found), default=0), {one.endpoint: one for one in found})


@operation("serving.account", permission="serving:read")
def account(ctx: Context, request: FindAccount) -> PredictionAccount:
    """Return what became of the predictions of an endpoint: collected, duplicates, dropped.

    Raises:
        NotFound: There is no such endpoint.
    """
    with ctx.read() as tx:
        _current(tx, request.endpoint)
        return records.account(tx, request.endpoint)
