"""What each page shows, read through operations; how much is read is bounded, however much there is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from markupsafe import Markup

from undrift.core.context import Context
from undrift.core.errors import NotFound
from undrift.events import Event, ListEvents, list_events
from undrift.hub.web.charts import Level, Mark, Span, performance_chart
from undrift.hub.web.curve import Point, points_of
from undrift.hub.web.runs import known_runs
from undrift.hub.web.words import address, amount, clock
from undrift.loop import Cycle, ListCycles, list_cycles
from undrift.monitoring import (
    FindIncident,
    Incident,
    ListIncidents,
    ListWindows,
    Window,
    find_incident,
    list_incidents,
    list_windows,
)
from undrift.registry import (
    AliasMove,
    ListModels,
    ListVersions,
    ModelSummary,
    ModelVersion,
    alias_history,
    list_models,
    list_versions,
)
from undrift.serving import FindRoute, ListEndpoints, Route, RouteHistory, find_route, list_endpoints, route_history

__all__ = [
    "AuditView",
    "EndpointView",
    "IncidentView",
    "ModelView",
    "Overview",
    "audit_view",
    "endpoint_view",
    "incident_view",
    "model_view",
    "overview",
]

_CHAMPION = "champion"
_LOSSES = {"classification": ("log_loss", "log loss"), "regression": ("mean_absolute_error", "mean absolute error")}
_SHOWN_IN_FULL = 6
_OVERVIEW_WINDOWS = 400
_PAGE_WINDOWS = 2000
_WINDOWS_AROUND = 30
_CHART_INCIDENTS = 200
_VERSIONS = 100
_AUDIT_PAGE = 50


class EndpointView(msgspec.Struct, frozen=True):
    """An endpoint: who answers, whether something is wrong, how good it is, what was done.

    Attributes:
        route: Who answers now.
        incidents: The newest ones, newest first.
        open_incidents: Those that are not over, however old.
        cycles: Turns of the loop, newest first.
        moves: Moves of the model's aliases, newest first.
        windows: The newest ones, newest first.
        points: What is drawn.
        chart: The performance curve; None when there is no window yet.
        metric: What the loss is called.
        expected: The loss that the champion is expected to have, as measured before it went live.
        history: Earlier routes, newest first; only on the endpoint's own page.
    """

    route: Route
    incidents: list[Incident]
    open_incidents: list[Incident]
    cycles: list[Cycle]
    moves: list[AliasMove]
    windows: list[Window]
    points: list[Point]
    chart: Markup | None
    metric: str
    expected: float | None
    history: list[Route] = []

    @property
    def promotion(self) -> AliasMove | None:
        """The move that made the champion what it is."""
        return next((move for move in self.moves if move.alias == _CHAMPION), None)

    @property
    def measured(self) -> Window | None:
        """The newest window whose labels were due."""
        return next((window for window in self.windows if window.served is not None), None)

    @property
    def under_way(self) -> Cycle | None:
        """The turn of the loop that has not ended."""
        return next((cycle for cycle in self.cycles if cycle.closed_at is None), None)


class Overview(msgspec.Struct, frozen=True):
    """The first page: is anything wrong, since when, whose is it.

    Attributes:
        incidents: Open ones, newest first.
        waiting: Cycles that wait for a person's decision.
        endpoints: Shown in full, those with something wrong first.
        others: Endpoints beyond those, by name, with the number of their open incidents.
        unserved: Models that answer at no endpoint.
        events: What happened last.
    """

    incidents: list[Incident]
    waiting: list[Cycle]
    endpoints: list[EndpointView]
    others: list[tuple[Route, int]]
    unserved: list[ModelSummary]
    events: list[Event]

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been done with this workspace yet."""
        return not (self.endpoints or self.unserved or self.incidents)


class ModelView(msgspec.Struct, frozen=True):
    """A model: its versions, where its aliases point, and every move of them; ``runs`` are those that are there."""

    summary: ModelSummary
    versions: list[ModelVersion]
    moves: list[AliasMove]
    endpoints: list[Route]
    runs: frozenset[str] = frozenset()

    def aliases_of(self, number: int) -> list[str]:
        """Return the aliases that point to a version."""
        return sorted(name for name, pointed in self.summary.aliases.items() if pointed == number)


class IncidentView(msgspec.Struct, frozen=True):
    """An incident, with the turns of the loop it started and what the log says of it."""

    incident: Incident
    cycles: list[Cycle]
    events: list[Event]
    endpoint: EndpointView | None


class AuditView(msgspec.Struct, frozen=True):
    """A page of the log; ``older`` is where the next one begins."""

    events: list[Event]
    asked: ListEvents
    older: int | None


def overview(ctx: Context) -> Overview:
    """Read the first page."""
    incidents = list_incidents(ctx, ListIncidents(open_only=True, limit=1000))
    routes = list_endpoints(ctx, ListEndpoints())
    wrong = {incident.endpoint for incident in incidents}
    routes.sort(key=lambda route: (route.endpoint not in wrong, route.endpoint))
    served = {(route.project, route.model) for route in routes}
    models = list_models(ctx, ListModels())
    cycles = list_cycles(ctx, ListCycles(limit=200))
    counts = {name: sum(incident.endpoint == name for incident in incidents) for name in wrong}
    return Overview(
        incidents=incidents,
        waiting=[cycle for cycle in cycles if cycle.stage == "awaiting approval"],
        endpoints=[_endpoint(ctx, route, _newest(route, _OVERVIEW_WINDOWS)) for route in routes[:_SHOWN_IN_FULL]],
        others=[(route, counts.get(route.endpoint, 0)) for route in routes[_SHOWN_IN_FULL:]],
        unserved=[one for one in models if (one.model.project, one.model.name) not in served],
        events=list_events(ctx, ListEvents(limit=8)),
    )


def endpoint_view(ctx: Context, name: str) -> EndpointView:
    """Read the page of an endpoint.

    Raises:
        NotFound: There is no such endpoint.
    """
    route = find_route(ctx, FindRoute(name))
    view = _endpoint(ctx, route, _newest(route, _PAGE_WINDOWS), tips=True)
    return msgspec.structs.replace(view, history=route_history(ctx, RouteHistory(name, limit=50)))


def model_view(ctx: Context, project: str, name: str) -> ModelView:
    """Read the page of a model.

    Raises:
        NotFound: There is no such model.
    """
    asked = ListVersions(project, name, limit=_VERSIONS)
    versions = list_versions(ctx, asked)
    summaries = list_models(ctx, ListModels(project))
    return ModelView(
        summary=next(one for one in summaries if one.model.name == name),
        versions=versions,
        moves=alias_history(ctx, asked),
        endpoints=[route for route in list_endpoints(ctx, ListEndpoints(project)) if route.model == name],
        runs=known_runs(ctx, project, [version.run_id for version in versions]),
    )


def incident_view(ctx: Context, asked: FindIncident) -> IncidentView:
    """Read the page of an incident.

    Raises:
        NotFound: There is no such incident.
    """
    incident = find_incident(ctx, asked)
    cycles = list_cycles(ctx, ListCycles(endpoint=incident.endpoint, limit=1000))
    try:
        route = find_route(ctx, FindRoute(incident.endpoint))
        around: EndpointView | None = _endpoint(ctx, route, _around(ctx, incident), also=incident)
    except NotFound:
        around = None
    return IncidentView(
        incident=incident,
        cycles=[cycle for cycle in cycles if cycle.incident == incident.number],
        events=list_events(ctx, ListEvents(subject=f"incidents/{incident.number}", limit=50)),
        endpoint=around,
    )


def audit_view(ctx: Context, asked: ListEvents) -> AuditView:
    """Read a page of the log."""
    found = list_events(ctx, msgspec.structs.replace(asked, limit=_AUDIT_PAGE + 1))
    shown = found[:_AUDIT_PAGE]
    return AuditView(shown, asked, shown[-1].position if len(found) > _AUDIT_PAGE else None)


def _newest(route: Route, windows: int) -> ListWindows:
    return ListWindows(route.endpoint, limit=windows)


def _around(ctx: Context, incident: Incident) -> ListWindows:
    """Ask for the windows of an incident, and for as much before and after that one sees the difference."""
    newest = list_windows(ctx, ListWindows(incident.endpoint, limit=1))
    length = newest[0].end - newest[0].start if newest else timedelta()
    end = incident.resolved_at or incident.last_seen_at
    margin = max(end - incident.started_at, length * _WINDOWS_AROUND)
    return ListWindows(incident.endpoint, start=incident.started_at - margin, before=end + margin, limit=_PAGE_WINDOWS)


def _endpoint(
    ctx: Context, route: Route, asked_windows: ListWindows, *, also: Incident | None = None, tips: bool = False
) -> EndpointView:
    found = list_windows(ctx, asked_windows)
    incidents = list_incidents(ctx, ListIncidents(endpoint=route.endpoint, limit=_CHART_INCIDENTS))
    if also is not None and all(incident.number != also.number for incident in incidents):
        incidents.append(also)
    asked = ListVersions(route.project, route.model, limit=_VERSIONS)
    moves = alias_history(ctx, asked)
    versions = {version.number: version for version in list_versions(ctx, asked)}
    champion = versions.get(route.champion.number)
    task = champion.signature.task if champion is not None and champion.signature is not None else "classification"
    metric, said = _LOSSES["regression" if task == "regression" else "classification"]
    expected = {number: version.metrics[metric] for number, version in versions.items() if metric in version.metrics}
    points = points_of(found)
    chart = None
    if points:
        promotions = [move for move in reversed(moves) if move.alias == _CHAMPION and move.number is not None]
        chart = performance_chart(
            points,
            spans=[_span(incident, points[-1].end) for incident in incidents],
            marks=[_mark(move) for move in promotions],
            levels=_levels(promotions, expected),
            label=_described(route, said, points, incidents, promotions),
            tips=tips,
        )
    return EndpointView(
        route=route,
        incidents=incidents,
        open_incidents=list_incidents(ctx, ListIncidents(endpoint=route.endpoint, open_only=True, limit=200)),
        cycles=list_cycles(ctx, ListCycles(endpoint=route.endpoint, limit=100)),
        moves=moves,
        windows=found,
        points=points,
        chart=chart,
        metric=said,
        expected=expected.get(route.champion.number),
    )


def _span(incident: Incident, newest: datetime) -> Span:
    end = incident.resolved_at or max(newest, incident.last_seen_at)
    return Span(
        start=incident.started_at,
        end=max(end, incident.started_at),
        kind="fault" if incident.cause == "data fault" else "drop",
        link=address("incidents", incident.number),
        label=f"#{incident.number}",
        title=f"Incident {incident.number}: {incident.title}, from {clock(incident.started_at)} UTC",
    )


def _mark(move: AliasMove) -> Mark:
    return Mark(
        at=move.at,
        link=address("models", move.project, move.model),
        label=f"v{move.number}",
        title=f"Version {move.number} became {move.alias} on {clock(move.at)} UTC: {move.reason}",
    )


def _levels(promotions: Sequence[AliasMove], expected: dict[int, float]) -> list[Level]:
    return [Level(move.at, expected[move.number]) for move in promotions if move.number in expected]


def _described(
    route: Route, metric: str, points: Sequence[Point], incidents: Sequence[Incident], moves: Sequence[AliasMove]
) -> str:
    return (
        f"Mean {metric} of {route.endpoint} from {clock(points[0].start)} to {clock(points[-1].end)} UTC, "
        f"with {amount(len(incidents), 'incident')} and {amount(len(moves), 'promotion')}; "
        "the numbers are in the table of windows."
    )
