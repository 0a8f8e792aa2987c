"""The typed client: the same object on the workspace here, or on a hub far away; the caller cannot tell.

The classes of the rooms are written by ``scripts/generate_client.py``; what stands above the mark is written by people.
"""
# ruff: noqa: A002 - parameters have the names of the fields they become

from __future__ import annotations

import builtins
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import msgspec

from undrift import data, events, loop, monitoring, registry, serving, tracking
from undrift.core.errors import Invalid, Unavailable
from undrift.core.operation import Operation, check_idempotency_key
from undrift.core.transport import HttpTransport, InProcessTransport, Transport
from undrift.operations import read_body
from undrift.workspace import FOLDER, Workspace

__all__ = ["Client", "connect"]

I = TypeVar("I")  # noqa: E741 - input
O = TypeVar("O")  # noqa: E741 - output


def connect(target: str | Path | None = None) -> Client:
    """Return a client for a workspace folder, or for a hub.

    Args:
        target: A workspace folder, or the address of a hub (``http://127.0.0.1:7470``). When left out: the folder that
            ``UNDRIFT_WORKSPACE`` names, else ``.undrift`` here.

    Raises:
        NotFound: There is no workspace in that folder.
        Invalid: It is an address of another kind.
    """
    if target is None:
        target = os.environ.get("UNDRIFT_WORKSPACE") or FOLDER
    if isinstance(target, str) and "://" in target:
        remote = HttpTransport(target)
        return Client(remote, remote.close)
    workspace = Workspace.open(target)
    return Client(InProcessTransport(workspace.context), workspace.close)


class Connection:
    """What every client can do: call any operation, and be closed.

    Args:
        transport: How operations are reached.
        close: What ends it.
    """

    def __init__(self, transport: Transport, close: Callable[[], None]) -> None:
        self._transport = _Alike(transport)
        self._close = close

    def call(self, operation: Operation[I, O], request: I, *, idempotency_key: str | None = None) -> O:
        """Call an operation that has been declared anywhere.

        Args:
            operation: Which.
            request: Its input.
            idempotency_key: Names this call, so that doing it again returns the first answer and changes nothing.

        Raises:
            UndriftError: What the operation raised, or Unavailable when the hub could not be reached.
        """
        return self._transport.call(operation, request, idempotency_key=idempotency_key)

    def close(self) -> None:
        """Close the connections; closing again does nothing."""
        if not self._transport.closed:
            self._transport.closed = True
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Alike:
    """Makes transports alike: every request goes through JSON, so that what a hub would refuse is refused here, too.

    Attributes:
        closed: Whether nothing can be called any more.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.closed = False

    def call(self, operation: Operation[I, O], request: I, *, idempotency_key: str | None = None) -> O:
        """Call the operation.

        Raises:
            Invalid: The request does not fit, or holds what JSON cannot say.
            Unavailable: The client was closed.
        """
        if self.closed:
            raise Unavailable("This client was closed.", next_step="Make another one with `undrift.connect()`.")
        if idempotency_key:
            check_idempotency_key(idempotency_key)
        try:
            body = msgspec.json.encode(request)
        except (TypeError, ValueError, RecursionError) as error:
            raise Invalid(
                f"The request for {operation.name} holds what JSON cannot say: {error}.",
                next_step="Send numbers, strings, booleans, times, lists and dictionaries of these.",
            ) from None
        return self._transport.call(operation, read_body(operation, body), idempotency_key=idempotency_key)


# --- What follows is written by scripts/generate_client.py from the declarations of the operations. ---


class Data:
    """Tables that grow, every version of which can be read again; checks before rows are let in; quarantine."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def add_quarantine(
        self,
        *,
        project: str,
        dataset: str,
        columns: tuple[str, ...],
        start: datetime,
        reason: str,
        end: datetime | None = None,
        incident_id: str | None = None,
        evidence: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> data.Quarantine:
        """Keep a stretch of a dataset out of training, with the reason.

        Raises:
            NotFound: There is no such dataset.
            Invalid: The stretch ends before it begins.
        """
        request = data.AddQuarantine(
            project=project,
            dataset=dataset,
            columns=columns,
            start=start,
            reason=reason,
            end=end,
            incident_id=incident_id,
            evidence={} if evidence is None else evidence,
        )
        return self._transport.call(data.add_quarantine, request, idempotency_key=idempotency_key)

    def end_quarantine(
        self, *, project: str, incident_id: str, end: datetime, idempotency_key: str | None = None
    ) -> list[data.Quarantine]:
        """Say where the open stretches of an incident end; what lies in them stays out of training."""
        request = data.EndQuarantine(project=project, incident_id=incident_id, end=end)
        return self._transport.call(data.end_quarantine, request, idempotency_key=idempotency_key)

    def list_datasets(self, *, project: str | None = None) -> list[data.DatasetSummary]:
        """List datasets with their newest version."""
        request = data.ListDatasets(project=project)
        return self._transport.call(data.list_datasets, request)

    def list_quarantines(self, *, project: str, dataset: str | None = None) -> list[data.Quarantine]:
        """List what is kept out of training, oldest first."""
        request = data.ListQuarantines(project=project, dataset=dataset)
        return self._transport.call(data.list_quarantines, request)

    def list_versions(self, *, project: str, dataset: str, limit: int = 100) -> list[data.DatasetVersion]:
        """List the versions of a dataset, newest first."""
        request = data.ListDatasetVersions(project=project, dataset=dataset, limit=limit)
        return self._transport.call(data.list_dataset_versions, request)

    def register_dataset(
        self,
        *,
        project: str,
        name: str,
        key: str,
        time: str,
        known_at: str,
        owner: str,
        idempotency_key: str | None = None,
    ) -> data.Dataset:
        """Make a dataset known; returns the one that is there when it is.

        Raises:
            Conflict: There is one of that name with another key or other time columns.
        """
        request = data.RegisterDataset(project=project, name=name, key=key, time=time, known_at=known_at, owner=owner)
        return self._transport.call(data.register_dataset, request, idempotency_key=idempotency_key)


class Events:
    """Everything that happens is an event, appended in the transaction of the change it tells of."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        subject: str | None = None,
        type: str | None = None,
        project: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> builtins.list[events.Event]:
        """List events, newest first."""
        request = events.ListEvents(subject=subject, type=type, project=project, before=before, limit=limit)
        return self._transport.call(events.list_events, request)

    def verify(self, *, position: int | None = None, hash: str | None = None) -> events.Verification:
        """Check every event of the log against the chain, and the log against a head published earlier.

        The cost follows the length of the log: about 100,000 events a second.

        Raises:
            Invalid: A hash was given without its position.
        """
        request = events.VerifyLog(position=position, hash=hash)
        return self._transport.call(events.verify_log, request)


class Loop:
    """Observe, detect, diagnose, decide, retrain, gate, approve, roll out, promote or roll back."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def decide_cycle(
        self, *, cycle_id: str, approve: bool, reason: str, idempotency_key: str | None = None
    ) -> loop.Cycle:
        """Approve or refuse a challenger that awaits approval; the worker goes on with it.

        Raises:
            NotFound: There is no such cycle.
            Conflict: It does not await approval.
            Forbidden: A service asks; only people approve.
        """
        request = loop.DecideCycle(cycle_id=cycle_id, approve=approve, reason=reason)
        return self._transport.call(loop.decide_cycle, request, idempotency_key=idempotency_key)

    def list_cycles(self, *, endpoint: str | None = None, limit: int = 100) -> list[loop.Cycle]:
        """List the turns of the loop with what started them, what they went by, and how they ended."""
        request = loop.ListCycles(endpoint=endpoint, limit=limit)
        return self._transport.call(loop.list_cycles, request)


class Monitoring:
    """Says when a model is not right any more, since when, why it looks so, and whose it is."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def acknowledge_incident(
        self, *, number: int, useful: bool | None = None, idempotency_key: str | None = None
    ) -> monitoring.Incident:
        """Say that somebody has seen an incident, and whether it was worth the interruption.

        Raises:
            Conflict: It is over already, and nothing new is said about its use.
        """
        request = monitoring.AcknowledgeIncident(number=number, useful=useful)
        return self._transport.call(monitoring.acknowledge_incident, request, idempotency_key=idempotency_key)

    def describe_incident(
        self,
        *,
        number: int,
        diagnosis: str,
        action: str,
        evidence: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> monitoring.Incident:
        """Write why an incident is, and what was done about it; saying the same again changes nothing."""
        request = monitoring.DescribeIncident(
            number=number, diagnosis=diagnosis, action=action, evidence={} if evidence is None else evidence
        )
        return self._transport.call(monitoring.describe_incident, request, idempotency_key=idempotency_key)

    def find_incident(self, *, number: int) -> monitoring.Incident:
        """Return an incident with its findings, diagnosis and action."""
        request = monitoring.FindIncident(number=number)
        return self._transport.call(monitoring.find_incident, request)

    def find_label_account(self, *, endpoint: str) -> monitoring.LabelAccount:
        """Count the labels of an endpoint: joined, corrected, parked."""
        request = monitoring.FindLabelAccount(endpoint=endpoint)
        return self._transport.call(monitoring.find_label_account, request)

    def list_corrections(self, *, endpoint: str, limit: int = 100) -> list[monitoring.LabelCorrection]:
        """List labels that were taken back, newest first."""
        request = monitoring.ListCorrections(endpoint=endpoint, limit=limit)
        return self._transport.call(monitoring.list_corrections, request)

    def list_incidents(
        self, *, endpoint: str | None = None, project: str | None = None, open_only: bool = False, limit: int = 100
    ) -> list[monitoring.Incident]:
        """List incidents, newest first."""
        request = monitoring.ListIncidents(endpoint=endpoint, project=project, open_only=open_only, limit=limit)
        return self._transport.call(monitoring.list_incidents, request)

    def list_windows(
        self, *, endpoint: str, start: datetime | None = None, before: datetime | None = None, limit: int = 500
    ) -> list[monitoring.Window]:
        """List closed windows with quality, drift and performance, newest first."""
        request = monitoring.ListWindows(endpoint=endpoint, start=start, before=before, limit=limit)
        return self._transport.call(monitoring.list_windows, request)

    def record_labels(
        self, *, endpoint: str, labels: tuple[monitoring.Label, ...], idempotency_key: str | None = None
    ) -> monitoring.LabelReport:
        """Record what really happened, by prediction id.

        The same label again changes nothing. Another value for the same prediction is a correction: it counts from now
        on and the old one is kept. A label for a prediction nobody knows is parked, and joined when the prediction
        turns up.

        Raises:
            Invalid: A value is no number, a prediction comes twice with different values, or belongs to another
                endpoint.
            TooLarge: More than 10,000 labels in one call.
        """
        request = monitoring.RecordLabels(endpoint=endpoint, labels=labels)
        return self._transport.call(monitoring.record_labels, request, idempotency_key=idempotency_key)


class Registry:
    """A history of model versions, and of what was in production when, by whom, why."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def alias_history(self, *, project: str, model: str, limit: int = 100) -> list[registry.AliasMove]:
        """List every move of every alias of a model, newest first."""
        request = registry.ListVersions(project=project, model=model, limit=limit)
        return self._transport.call(registry.alias_history, request)

    def find_alias(
        self, *, project: str, model: str, alias: str, as_of: datetime | None = None
    ) -> registry.AliasMove | None:
        """Return what an alias pointed to at a moment: who put it there, when, why, on what evidence."""
        request = registry.FindAlias(project=project, model=model, alias=alias, as_of=as_of)
        return self._transport.call(registry.find_alias, request)

    def find_version(
        self,
        *,
        project: str,
        model: str,
        number: int | None = None,
        alias: str | None = None,
        as_of: datetime | None = None,
    ) -> registry.ModelVersion:
        """Return a version by its number, or the one an alias points to, now or at an earlier moment.

        Raises:
            NotFound: There is no such model, version or alias.
        """
        request = registry.FindVersion(project=project, model=model, number=number, alias=alias, as_of=as_of)
        return self._transport.call(registry.find_version, request)

    def list_models(self, *, project: str | None = None) -> list[registry.ModelSummary]:
        """List models with their newest version and aliases."""
        request = registry.ListModels(project=project)
        return self._transport.call(registry.list_models, request)

    def list_versions(self, *, project: str, model: str, limit: int = 100) -> list[registry.ModelVersion]:
        """List the versions of a model, newest first."""
        request = registry.ListVersions(project=project, model=model, limit=limit)
        return self._transport.call(registry.list_versions, request)

    def move_alias(
        self,
        *,
        project: str,
        model: str,
        alias: str,
        number: int,
        reason: str,
        evidence: dict[str, Any] | None = None,
        expected: int | None = -1,
        idempotency_key: str | None = None,
    ) -> registry.AliasMove:
        """Point an alias such as ``champion`` to a version; the history keeps who, when, why and on what evidence.

        Raises:
            NotFound: There is no such model or version.
            Conflict: The version is retired, or the alias does not point where the mover believes.
        """
        request = registry.MoveAlias(
            project=project,
            model=model,
            alias=alias,
            number=number,
            reason=reason,
            evidence={} if evidence is None else evidence,
            expected=expected,
        )
        return self._transport.call(registry.move_alias, request, idempotency_key=idempotency_key)

    def register_model(
        self, *, project: str, name: str, owner: str, idempotency_key: str | None = None
    ) -> registry.Model:
        """Make a model known; returns the one that is there when it is."""
        request = registry.RegisterModel(project=project, name=name, owner=owner)
        return self._transport.call(registry.register_model, request, idempotency_key=idempotency_key)

    def register_version(
        self,
        *,
        project: str,
        model: str,
        run_id: str,
        artifact: str,
        signature: registry.Signature,
        training: dict[str, Any] | None = None,
        metrics: dict[str, float] | None = None,
        reference_profile: str | None = None,
        idempotency_key: str | None = None,
    ) -> registry.ModelVersion:
        """Register what a run has trained as the next version; the same run registers the same version once.

        Raises:
            NotFound: There is no such model, or the artifact is not in the store.
            Invalid: The signature has no inputs: without a contract nothing could be checked in production.
        """
        request = registry.RegisterVersion(
            project=project,
            model=model,
            run_id=run_id,
            artifact=artifact,
            signature=signature,
            training={} if training is None else training,
            metrics={} if metrics is None else metrics,
            reference_profile=reference_profile,
        )
        return self._transport.call(registry.register_version, request, idempotency_key=idempotency_key)

    def retire_version(
        self, *, project: str, model: str, number: int, reason: str, idempotency_key: str | None = None
    ) -> registry.ModelVersion:
        """Say that a version is not to be used any more; it stays for the record.

        Raises:
            Conflict: An alias still points to it.
        """
        request = registry.RetireVersion(project=project, model=model, number=number, reason=reason)
        return self._transport.call(registry.retire_version, request, idempotency_key=idempotency_key)


class Serving:
    """Who answers at an endpoint, model servers that keep answering, and the log of every prediction."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def account(self, *, endpoint: str) -> serving.PredictionAccount:
        """Return what became of the predictions of an endpoint: collected, duplicates, dropped.

        Raises:
            NotFound: There is no such endpoint.
        """
        request = serving.FindAccount(endpoint=endpoint)
        return self._transport.call(serving.account, request)

    def find_route(self, *, endpoint: str, as_of: datetime | None = None) -> serving.Route:
        """Return who answers at an endpoint, now or at an earlier moment.

        Raises:
            NotFound: There is no such endpoint, or there was none yet at that moment.
        """
        request = serving.FindRoute(endpoint=endpoint, as_of=as_of)
        return self._transport.call(serving.find_route, request)

    def list_endpoints(self, *, project: str | None = None) -> list[serving.Route]:
        """List the endpoints, each with its route of now, by name."""
        request = serving.ListEndpoints(project=project)
        return self._transport.call(serving.list_endpoints, request)

    def route_history(self, *, endpoint: str, limit: int = 100) -> list[serving.Route]:
        """List every route an endpoint has had, newest first.

        Raises:
            NotFound: There is no such endpoint.
        """
        request = serving.RouteHistory(endpoint=endpoint, limit=limit)
        return self._transport.call(serving.route_history, request)

    def routing_table(self) -> serving.RoutingTable:
        """Return the newest route of every endpoint: what a model server needs to know."""
        request = serving.ReadRoutingTable()
        return self._transport.call(serving.routing_table, request)

    def set_route(
        self,
        *,
        project: str,
        endpoint: str,
        model: str,
        arms: tuple[serving.SetArm, ...],
        reason: str,
        compare: bool = False,
        evidence: dict[str, Any] | None = None,
        expected: int | None = None,
        idempotency_key: str | None = None,
    ) -> serving.Route:
        """Decide who answers at an endpoint; the history keeps who, when, why and on what evidence.

        Returns the route that is there when nothing would change.

        Raises:
            NotFound: There is no such model or version.
            Invalid: The arms do not make a route.
            Conflict: A version is retired, the challenger cannot score what the champion takes, the endpoint belongs to
                another project, or its route is not the one the caller expected.
        """
        request = serving.SetRoute(
            project=project,
            endpoint=endpoint,
            model=model,
            arms=arms,
            reason=reason,
            compare=compare,
            evidence={} if evidence is None else evidence,
            expected=expected,
        )
        return self._transport.call(serving.set_route, request, idempotency_key=idempotency_key)


class Tracking:
    """Every execution is a run with what went in, its parameters, what came out, and how it ended."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def end_run(
        self,
        *,
        run_id: str,
        status: Literal["running", "finished", "failed"] = "finished",
        error: str = "",
        idempotency_key: str | None = None,
    ) -> tracking.Run:
        """End a run; ending it again the same way changes nothing.

        Raises:
            NotFound: There is no such run.
            Conflict: It ended already in another way.
        """
        request = tracking.EndRun(run_id=run_id, status=status, error=error)
        return self._transport.call(tracking.end_run, request, idempotency_key=idempotency_key)

    def find_run(self, *, run_id: str) -> tracking.Run:
        """Return a run with everything it logged."""
        request = tracking.FindRun(run_id=run_id)
        return self._transport.call(tracking.find_run, request)

    def list_runs(
        self,
        *,
        project: str | None = None,
        experiment: str | None = None,
        kind: str | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[tracking.Run]:
        """List runs, newest first."""
        request = tracking.ListRuns(project=project, experiment=experiment, kind=kind, before=before, limit=limit)
        return self._transport.call(tracking.list_runs, request)

    def log_run(
        self,
        *,
        run_id: str,
        metrics: dict[str, float] | None = None,
        points: tuple[tracking.MetricPoint, ...] = (),
        parameters: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
        links: tuple[tracking.RunLink, ...] = (),
        idempotency_key: str | None = None,
    ) -> None:
        """Add metrics, parameters, tags and links to a run; the same point twice is kept once.

        Raises:
            NotFound: There is no such run.
            TooLarge: More than 10,000 points in one call.
        """
        request = tracking.LogRun(
            run_id=run_id,
            metrics={} if metrics is None else metrics,
            points=points,
            parameters={} if parameters is None else parameters,
            tags={} if tags is None else tags,
            links=links,
        )
        return self._transport.call(tracking.log_run, request, idempotency_key=idempotency_key)

    def start_run(
        self,
        *,
        project: str,
        experiment: str,
        name: str,
        kind: str = "training",
        id: str | None = None,
        parent_id: str | None = None,
        parameters: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
        links: tuple[tracking.RunLink, ...] = (),
        idempotency_key: str | None = None,
    ) -> tracking.Run:
        """Begin a run; beginning the same id again returns the run that is there."""
        request = tracking.StartRun(
            project=project,
            experiment=experiment,
            name=name,
            kind=kind,
            id=id,
            parent_id=parent_id,
            parameters={} if parameters is None else parameters,
            tags={} if tags is None else tags,
            links=links,
        )
        return self._transport.call(tracking.start_run, request, idempotency_key=idempotency_key)


class Client(Connection):
    """Everything undrift can do, by room; made by `connect`.

    Attributes:
        data: Tables that grow, every version of which can be read again; checks before rows are let in; quarantine.
        events: Everything that happens is an event, appended in the transaction of the change it tells of.
        loop: Observe, detect, diagnose, decide, retrain, gate, approve, roll out, promote or roll back.
        monitoring: Says when a model is not right any more, since when, why it looks so, and whose it is.
        registry: A history of model versions, and of what was in production when, by whom, why.
        serving: Who answers at an endpoint, model servers that keep answering, and the log of every prediction.
        tracking: Every execution is a run with what went in, its parameters, what came out, and how it ended.
    """

    def __init__(self, transport: Transport, close: Callable[[], None]) -> None:
        super().__init__(transport, close)
        self.data = Data(self._transport)
        self.events = Events(self._transport)
        self.loop = Loop(self._transport)
        self.monitoring = Monitoring(self._transport)
        self.registry = Registry(self._transport)
        self.serving = Serving(self._transport)
        self.tracking = Tracking(self._transport)
