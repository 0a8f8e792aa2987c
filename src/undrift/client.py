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

from undrift import data, events, governance, loop, monitoring, registry, serving, tracking
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

    def export_dataset(
        self, *, project: str, dataset: str, after: int = 0, limit: int = 500
    ) -> list[data.DatasetVersion]:
        """Return the versions of a dataset by number, a page at a time.

        Raises:
            NotFound: There is no such dataset.
        """
        request = data.ExportDataset(project=project, dataset=dataset, after=after, limit=limit)
        return self._transport.call(data.export_dataset, request)

    def import_dataset(
        self,
        *,
        dataset: data.Dataset,
        source: str,
        versions: tuple[data.DatasetVersion, ...] = (),
        idempotency_key: str | None = None,
    ) -> int:
        """Bring in a dataset and versions of it, and return how many of these were new; those that are there stay.

        Raises:
            NotFound: The commit of a version is not in the store.
            Conflict: There is a dataset of that name with another key or other time columns.
            TooLarge: More than 500 versions in one call.
        """
        request = data.ImportDataset(dataset=dataset, source=source, versions=versions)
        return self._transport.call(data.import_dataset, request, idempotency_key=idempotency_key)

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

    def create_webhook(
        self,
        *,
        project: str,
        name: str,
        url: str,
        event_types: tuple[str, ...] = (),
        mlflow_events: tuple[str, ...] = (),
        format: Literal["cloudevents", "mlflow"] = "cloudevents",
        secret: str = "",
        status: Literal["ACTIVE", "DISABLED"] = "ACTIVE",
        description: str = "",
        idempotency_key: str | None = None,
    ) -> events.Webhook:
        """Make a webhook: from now on, the events it wants are sent to its address.

        The address has to be https and public, unless the workspace allows its host; it is looked up and judged here
        and again before each call. Up to 5 seconds go by when its name server does not answer.

        Raises:
            Invalid: A name, address, type of event or secret is none, or the host is not known.
            Forbidden: The address is not public, not https, or on another port than 443 and 8443.
            TooLarge: Something is over its limit, or the project has 1,000 webhooks.
        """
        request = events.CreateWebhook(
            project=project,
            name=name,
            url=url,
            event_types=event_types,
            mlflow_events=mlflow_events,
            format=format,
            secret=secret,
            status=status,
            description=description,
        )
        return self._transport.call(events.create_webhook, request, idempotency_key=idempotency_key)

    def delete_webhook(self, *, webhook_id: str, idempotency_key: str | None = None) -> None:
        """Delete a webhook, and what is on its way to it.

        Raises:
            NotFound: There is no such webhook.
        """
        request = events.DeleteWebhook(webhook_id=webhook_id)
        return self._transport.call(events.delete_webhook, request, idempotency_key=idempotency_key)

    def find_webhook(self, *, webhook_id: str) -> events.Webhook:
        """Return a webhook.

        Raises:
            NotFound: There is no such webhook.
        """
        request = events.FindWebhook(webhook_id=webhook_id)
        return self._transport.call(events.find_webhook, request)

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

    def list_deliveries(
        self,
        *,
        webhook_id: str,
        state: Literal["waiting", "delivered", "dead"] | None = None,
        max_results: int = 100,
        page_token: str | None = None,
    ) -> events.DeliveryPage:
        """List what is on its way to a webhook, has arrived in the last week, or was given up in the last month.

        Raises:
            NotFound: There is no such webhook.
            Invalid: The page is too long or too short, or the token is none.
        """
        request = events.ListDeliveries(
            webhook_id=webhook_id, state=state, max_results=max_results, page_token=page_token
        )
        return self._transport.call(events.list_deliveries, request)

    def list_webhooks(
        self, *, project: str | None = None, max_results: int = 100, page_token: str | None = None
    ) -> events.WebhookPage:
        """List webhooks, newest first.

        Raises:
            Invalid: The page is too long or too short, or the token is none.
        """
        request = events.ListWebhooks(project=project, max_results=max_results, page_token=page_token)
        return self._transport.call(events.list_webhooks, request)

    def retry_delivery(self, *, delivery_id: str, idempotency_key: str | None = None) -> events.Delivery:
        """Send an event to a webhook anew, with all attempts before it; one that waits is sent now.

        Raises:
            NotFound: There is no such delivery.
            Conflict: The webhook is disabled.
        """
        request = events.RetryDelivery(delivery_id=delivery_id)
        return self._transport.call(events.retry_delivery, request, idempotency_key=idempotency_key)

    def test_webhook(
        self, *, webhook_id: str, event: str | None = None, idempotency_key: str | None = None
    ) -> events.WebhookTest:
        """Call a webhook once with an example, and say how it went; waits at most 10 seconds for the receiver.

        Raises:
            NotFound: There is no such webhook.
            Invalid: The event asked for is none.
        """
        request = events.TestWebhook(webhook_id=webhook_id, event=event)
        return self._transport.call(events.test_webhook, request, idempotency_key=idempotency_key)

    def update_webhook(
        self,
        *,
        webhook_id: str,
        name: str | None = None,
        url: str | None = None,
        event_types: tuple[str, ...] | None = None,
        mlflow_events: tuple[str, ...] | None = None,
        format: Literal["cloudevents", "mlflow"] | None = None,
        secret: str | None = None,
        status: Literal["ACTIVE", "DISABLED"] | None = None,
        description: str | None = None,
        idempotency_key: str | None = None,
    ) -> events.Webhook:
        """Change a webhook.

        Raises:
            NotFound: There is no such webhook.
            Invalid: A name, address, type of event or secret is none, or the host is not known.
            Forbidden: The address is not public, not https, or on another port than 443 and 8443.
        """
        request = events.UpdateWebhook(
            webhook_id=webhook_id,
            name=name,
            url=url,
            event_types=event_types,
            mlflow_events=mlflow_events,
            format=format,
            secret=secret,
            status=status,
            description=description,
        )
        return self._transport.call(events.update_webhook, request, idempotency_key=idempotency_key)

    def verify(self, *, position: int | None = None, hash: str | None = None) -> events.Verification:
        """Check every event of the log against the chain, and the log against a head published earlier.

        The cost follows the length of the log: about 100,000 events a second.

        Raises:
            Invalid: A hash was given without its position.
        """
        request = events.VerifyLog(position=position, hash=hash)
        return self._transport.call(events.verify_log, request)


class Governance:
    """Who may do what, and what is kept for how long; proof is the log's (`undrift.events.verify_log`)."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def explain_storage(
        self, *, project: str | None = None, limit: int = 20, measure: bool = False
    ) -> governance.Storage:
        """Say what takes storage: by kind, project and owner, with the largest things; equal bytes are kept once.

        Sizes come from the tables. The files of model versions are looked up in their trees, the newest 2,000 of them.
        What nothing needs is known from the last time storage was freed, or would have been.
        """
        request = governance.ExplainStorage(project=project, limit=limit, measure=measure)
        return self._transport.call(governance.explain_storage, request)

    def free_storage(
        self,
        *,
        dry_run: bool = True,
        older_than_hours: float = 168,
        project: str = "",
        with_models: bool = False,
        idempotency_key: str | None = None,
    ) -> governance.Freed:
        """Remove for good what was deleted long enough ago, and the bytes nothing needs; a dry run unless told.

        Doing it again is safe, also after a crash; it goes on past what is missing already. Objects go when they have
        not been needed for an hour at least: those that nobody ever named are noted, and go when it is done again a day
        later.

        Raises:
            Invalid: The time is less than an hour, or the call has an idempotency key: it would be one long
                transaction.
            Conflict: Another process frees storage.
        """
        request = governance.FreeStorage(
            dry_run=dry_run, older_than_hours=older_than_hours, project=project, with_models=with_models
        )
        return self._transport.call(governance.free_storage, request, idempotency_key=idempotency_key)

    def hold(self, *, project: str, subject: str, reason: str, idempotency_key: str | None = None) -> governance.Hold:
        """Keep something from being removed, whoever deletes it, until the hold is released.

        Raises:
            Invalid: The subject cannot be held, or no reason is given.
            NotFound: There is no such thing in this project.
        """
        request = governance.HoldSubject(project=project, subject=subject, reason=reason)
        return self._transport.call(governance.hold, request, idempotency_key=idempotency_key)

    def list_holds(
        self, *, project: str = "", subject: str = "", released: bool = False, limit: int = 100
    ) -> list[governance.Hold]:
        """List holds, the newest first."""
        request = governance.ListHolds(project=project, subject=subject, released=released, limit=limit)
        return self._transport.call(governance.list_holds, request)

    def release(self, *, id: str, reason: str = "", idempotency_key: str | None = None) -> governance.Hold:
        """End a hold: what it kept can be removed again.

        Raises:
            NotFound: There is no such hold.
            Conflict: It was released already.
        """
        request = governance.ReleaseHold(id=id, reason=reason)
        return self._transport.call(governance.release, request, idempotency_key=idempotency_key)


class Loop:
    """Observe, detect, diagnose, decide, retrain, gate, approve, roll out, promote or roll back."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def decide_cycle(
        self, *, cycle_id: str, approve: bool, reason: str, idempotency_key: str | None = None
    ) -> loop.Cycle:
        """Approve or refuse a challenger that awaits approval; the worker goes on with it.

        The decision counts in the registry, too: it is one of the approvals that a policy may ask for. A challenger
        that is on the route already is taken off it by the worker, which then ends the cycle.

        Raises:
            NotFound: There is no such cycle.
            Conflict: It does not await approval, was refused already, or its challenger was retired.
            Forbidden: A service asks, or a policy asks for a second person and this is none.
            Invalid: There is no reason.
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
        """List every move and removal of the aliases of a model, newest first."""
        request = registry.ListVersions(project=project, model=model, limit=limit)
        return self._transport.call(registry.alias_history, request)

    def approval_status(
        self, *, project: str, model: str, number: int, alias: str = "champion"
    ) -> registry.ApprovalStatus:
        """Say whether an alias may move to a version, and what is missing if not.

        Raises:
            NotFound: There is no such model or version.
        """
        request = registry.FindApproval(project=project, model=model, number=number, alias=alias)
        return self._transport.call(registry.approval_status, request)

    def as_of(self, *, project: str, model: str, moment: datetime, alias: str = "champion") -> registry.Standing:
        """Say what stood where an alias points at a moment: who put it there, on what evidence, made from what.

        When nothing stood there, the answer says so, and since and until when. A version that was deleted since is told
        of as it was.

        Raises:
            NotFound: There is no such model.
            Invalid: The moment has no time zone.
        """
        request = registry.AsOf(project=project, model=model, moment=moment, alias=alias)
        return self._transport.call(registry.as_of, request)

    def card(self, *, project: str, model: str, number: int) -> registry.Card:
        """Return the card of a version, filled from records, with every gap named.

        Raises:
            NotFound: There is no such model or version.
        """
        request = registry.FindCard(project=project, model=model, number=number)
        return self._transport.call(registry.card, request)

    def decide_approval(
        self,
        *,
        project: str,
        model: str,
        number: int,
        approve: bool,
        reason: str,
        alias: str = "champion",
        evidence: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> registry.ApprovalRequest:
        """Approve or refuse a version for an alias that somebody asked for; deciding the same again changes nothing.

        Raises:
            NotFound: There is no such model or version, or nobody asked.
            Forbidden: A service decides, or the person who registered the version or asked.
            Conflict: It was refused already, or the version is retired.
            Invalid: There is no reason.
        """
        request = registry.DecideApproval(
            project=project,
            model=model,
            number=number,
            approve=approve,
            reason=reason,
            alias=alias,
            evidence={} if evidence is None else evidence,
        )
        return self._transport.call(registry.decide_approval, request, idempotency_key=idempotency_key)

    def delete_model(self, *, project: str, name: str, reason: str = "", idempotency_key: str | None = None) -> None:
        """Remove a model with its versions, aliases and tags; only the log keeps what it was.

        The name and the numbers may be used again. Files stay in the store until storage is freed.

        Raises:
            NotFound: There is no such model.
        """
        request = registry.DeleteModel(project=project, name=name, reason=reason)
        return self._transport.call(registry.delete_model, request, idempotency_key=idempotency_key)

    def delete_version(
        self, *, project: str, model: str, number: int, reason: str = "", idempotency_key: str | None = None
    ) -> None:
        """Let a version not be found any more; its aliases go, its number stays taken, histories still tell of it.

        Raises:
            NotFound: There is no such model or version.
        """
        request = registry.DeleteVersion(project=project, model=model, number=number, reason=reason)
        return self._transport.call(registry.delete_version, request, idempotency_key=idempotency_key)

    def describe_model(
        self,
        *,
        project: str,
        name: str,
        description: str | None = None,
        owner: str | None = None,
        idempotency_key: str | None = None,
    ) -> registry.Model:
        """Say what a model is for, or who hears when something is wrong.

        Raises:
            NotFound: There is no such model.
            Invalid: A text cannot be kept.
        """
        request = registry.DescribeModel(project=project, name=name, description=description, owner=owner)
        return self._transport.call(registry.describe_model, request, idempotency_key=idempotency_key)

    def describe_version(
        self, *, project: str, model: str, number: int, description: str, idempotency_key: str | None = None
    ) -> registry.ModelVersion:
        """Say what is special about a version.

        Raises:
            NotFound: There is no such model or version.
            Invalid: The text cannot be kept.
        """
        request = registry.DescribeVersion(project=project, model=model, number=number, description=description)
        return self._transport.call(registry.describe_version, request, idempotency_key=idempotency_key)

    def export_history(self, *, project: str, model: str) -> registry.ModelHistory:
        """Return everything that was decided about a model, oldest first.

        Raises:
            NotFound: There is no such model.
        """
        request = registry.ExportHistory(project=project, model=model)
        return self._transport.call(registry.export_history, request)

    def export_versions(
        self, *, project: str, model: str, after: int = 0, limit: int = 500
    ) -> list[registry.ModelVersion]:
        """Return the versions of a model by number, also deleted ones, a page at a time.

        Raises:
            NotFound: There is no such model.
        """
        request = registry.ExportVersions(project=project, model=model, after=after, limit=limit)
        return self._transport.call(registry.export_versions, request)

    def find_alias(
        self, *, project: str, model: str, alias: str, as_of: datetime | None = None
    ) -> registry.AliasMove | None:
        """Return what an alias pointed to at a moment: who put it there, when, why, on what evidence."""
        request = registry.FindAlias(project=project, model=model, alias=alias, as_of=as_of)
        return self._transport.call(registry.find_alias, request)

    def find_model(self, *, project: str, name: str) -> registry.ModelSummary:
        """Return a model with its aliases and its newest version in each stage.

        Raises:
            NotFound: There is no such model.
        """
        request = registry.FindModel(project=project, name=name)
        return self._transport.call(registry.find_model, request)

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

    def import_history(
        self,
        *,
        project: str,
        source: str,
        model: str | None = None,
        alias_moves: tuple[registry.AliasMove, ...] = (),
        stage_moves: tuple[registry.StageMove, ...] = (),
        policies: tuple[registry.ApprovalPolicy, ...] = (),
        requests: tuple[registry.ApprovalRequest, ...] = (),
        trusts: dict[int, registry.Trust] | None = None,
        idempotency_key: str | None = None,
    ) -> int:
        """Bring in what was decided about a model elsewhere, and return how many entries were new.

        An alias, a stage of a version or a policy stays as it is when something else was decided of it here. Whoever
        may do this can say what others decided, so it asks for more than writing.

        Raises:
            NotFound: There is no such model or version.
            Invalid: An alias or a stage cannot be one.
            TooLarge: More than 100,000 entries in one call.
        """
        request = registry.ImportHistory(
            project=project,
            source=source,
            model=model,
            alias_moves=alias_moves,
            stage_moves=stage_moves,
            policies=policies,
            requests=requests,
            trusts={} if trusts is None else trusts,
        )
        return self._transport.call(registry.import_history, request, idempotency_key=idempotency_key)

    def import_model(
        self, *, project: str, model: registry.Model, source: str, idempotency_key: str | None = None
    ) -> registry.ImportedModel:
        """Bring in a model with its times; one of this name is taken for the same, and gets the tags that it lacks.

        Raises:
            Invalid: The name cannot be kept.
        """
        request = registry.ImportModel(project=project, model=model, source=source)
        return self._transport.call(registry.import_model, request, idempotency_key=idempotency_key)

    def import_versions(
        self,
        *,
        project: str,
        model: str,
        source: str,
        versions: tuple[registry.ModelVersion, ...],
        idempotency_key: str | None = None,
    ) -> tuple[registry.ImportedVersion, ...]:
        """Bring in versions with their numbers and times; those that are there get the tags that they lack.

        Nobody's trust is taken over: bytes that could run code wait for a person here, or for
        `registry.import_history`.

        Raises:
            NotFound: There is no such model.
            TooLarge: More than 500 versions in one call.
        """
        request = registry.ImportVersions(project=project, model=model, source=source, versions=versions)
        return self._transport.call(registry.import_versions, request, idempotency_key=idempotency_key)

    def list_approval_policies(self, *, project: str, limit: int = 100) -> list[registry.ApprovalPolicy]:
        """List the policies of a project and its models, newest first, with those that hold no more."""
        request = registry.ListPolicies(project=project, limit=limit)
        return self._transport.call(registry.list_approval_policies, request)

    def list_approvals(
        self,
        *,
        project: str | None = None,
        model: str | None = None,
        number: int | None = None,
        open_only: bool = False,
        limit: int = 100,
    ) -> list[registry.ApprovalRequest]:
        """List requests for approval with what was decided about them, newest first."""
        request = registry.ListApprovals(project=project, model=model, number=number, open_only=open_only, limit=limit)
        return self._transport.call(registry.list_approvals, request)

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
            Invalid: The alias cannot be one.
            Conflict: The version is retired, or the alias does not point where the mover believes.
            Forbidden: The project asks for approvals that are missing.
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

    def move_stage(
        self,
        *,
        project: str,
        model: str,
        number: int,
        stage: str,
        archive_existing: bool = False,
        reason: str = "",
        idempotency_key: str | None = None,
    ) -> registry.ModelVersion:
        """Put a version into one of the four stages of older MLflow clients; the history keeps who, when and why.

        Raises:
            NotFound: There is no such model or version.
            Invalid: There is no such stage, or nothing to archive for it.
            Conflict: The version is retired.
        """
        request = registry.MoveStage(
            project=project, model=model, number=number, stage=stage, archive_existing=archive_existing, reason=reason
        )
        return self._transport.call(registry.move_stage, request, idempotency_key=idempotency_key)

    def register_model(
        self,
        *,
        project: str,
        name: str,
        owner: str = "",
        description: str = "",
        tags: dict[str, str] | None = None,
        only_new: bool = False,
        idempotency_key: str | None = None,
    ) -> registry.Model:
        """Make a model known; returns the one that is there when it is.

        Raises:
            Invalid: The name, a tag or a text cannot be kept.
            Conflict: There is one of that name, and only a new one was wanted.
        """
        request = registry.RegisterModel(
            project=project,
            name=name,
            owner=owner,
            description=description,
            tags={} if tags is None else tags,
            only_new=only_new,
        )
        return self._transport.call(registry.register_model, request, idempotency_key=idempotency_key)

    def register_version(
        self,
        *,
        project: str,
        model: str,
        run_id: str | None = None,
        artifact: str | None = None,
        signature: registry.Signature | None = None,
        training: dict[str, Any] | None = None,
        metrics: dict[str, float] | None = None,
        reference_profile: str | None = None,
        key: str | None = None,
        format: Literal["onnx", "skops", "safetensors", "lightgbm", "xgboost", "catboost", "mlflow", "pickle"]
        | None = None,
        source: str = "",
        run_link: str = "",
        logged_model_id: str | None = None,
        description: str = "",
        tags: dict[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> registry.ModelVersion:
        """Register the next version of a model; the same key registers the same version once.

        Files with an ``MLmodel`` file tell the signature themselves. What a version lacks (a run, a signature, files in
        the store) is no error: its card names it.

        Raises:
            NotFound: There is no such model; or the artifact, a file of it or the reference profile is not in the
                store.
            Invalid: The signature has no inputs: it would be a contract about nothing. Or a text cannot be kept.
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
            key=key,
            format=format,
            source=source,
            run_link=run_link,
            logged_model_id=logged_model_id,
            description=description,
            tags={} if tags is None else tags,
        )
        return self._transport.call(registry.register_version, request, idempotency_key=idempotency_key)

    def remove_alias(
        self,
        *,
        project: str,
        model: str,
        alias: str,
        reason: str = "",
        evidence: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> registry.AliasMove | None:
        """Take an alias away; the history keeps that it was there. Returns None when it is not there.

        Raises:
            NotFound: There is no such model.
        """
        request = registry.RemoveAlias(
            project=project, model=model, alias=alias, reason=reason, evidence={} if evidence is None else evidence
        )
        return self._transport.call(registry.remove_alias, request, idempotency_key=idempotency_key)

    def rename_model(
        self, *, project: str, name: str, new_name: str, idempotency_key: str | None = None
    ) -> registry.Model:
        """Give a model another name; its versions, aliases, tags and their history go with it.

        Raises:
            NotFound: There is no such model.
            Invalid: The new name cannot name a model.
            Conflict: Another model has the new name.
        """
        request = registry.RenameModel(project=project, name=name, new_name=new_name)
        return self._transport.call(registry.rename_model, request, idempotency_key=idempotency_key)

    def request_approval(
        self,
        *,
        project: str,
        model: str,
        number: int,
        reason: str,
        alias: str = "champion",
        evidence: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> registry.ApprovalRequest:
        """Ask that others approve of a version for an alias; asking again while it is open changes nothing.

        Raises:
            NotFound: There is no such model or version.
            Invalid: The alias cannot be one.
            Conflict: The version is retired.
        """
        request = registry.RequestApproval(
            project=project,
            model=model,
            number=number,
            reason=reason,
            alias=alias,
            evidence={} if evidence is None else evidence,
        )
        return self._transport.call(registry.request_approval, request, idempotency_key=idempotency_key)

    def retire_version(
        self, *, project: str, model: str, number: int, reason: str, idempotency_key: str | None = None
    ) -> registry.ModelVersion:
        """Say that a version is not to be used any more; it stays for the record, and never comes back.

        Raises:
            NotFound: There is no such model or version.
            Conflict: An alias still points to it.
            Invalid: There is no reason.
        """
        request = registry.RetireVersion(project=project, model=model, number=number, reason=reason)
        return self._transport.call(registry.retire_version, request, idempotency_key=idempotency_key)

    def search_models(
        self,
        *,
        project: str,
        filter: str = "",
        order_by: tuple[str, ...] = (),
        max_results: int = 100,
        page_token: str = "",
    ) -> registry.ModelPage:
        """Find models by name and tags; those that are prompts of MLflow only when the filter asks for prompts.

        Raises:
            Invalid: The filter, the order, the page or its size is none.
        """
        request = registry.SearchModels(
            project=project, filter=filter, order_by=order_by, max_results=max_results, page_token=page_token
        )
        return self._transport.call(registry.search_models, request)

    def search_versions(
        self,
        *,
        project: str,
        filter: str = "",
        order_by: tuple[str, ...] = (),
        max_results: int = 1000,
        page_token: str = "",
    ) -> registry.VersionPage:
        """Find versions by model, run, source, number and tags; deleted ones never.

        Raises:
            Invalid: The filter, the order, the page or its size is none.
        """
        request = registry.SearchVersions(
            project=project, filter=filter, order_by=order_by, max_results=max_results, page_token=page_token
        )
        return self._transport.call(registry.search_versions, request)

    def set_approval_policy(
        self,
        *,
        project: str,
        needed: int,
        reason: str,
        model: str | None = None,
        alias: str = "champion",
        idempotency_key: str | None = None,
    ) -> registry.ApprovalPolicy:
        """Say how many second persons have to agree before an alias moves, in a project or for one model.

        Raises:
            NotFound: There is no such model.
            Invalid: The number is not 0 to 20, or the alias cannot be one.
            Conflict: Somebody else set it at the same moment.
        """
        request = registry.SetApprovalPolicy(project=project, needed=needed, reason=reason, model=model, alias=alias)
        return self._transport.call(registry.set_approval_policy, request, idempotency_key=idempotency_key)

    def stage_history(self, *, project: str, model: str, limit: int = 100) -> list[registry.StageMove]:
        """List every move of every version of a model between stages, newest first."""
        request = registry.ListVersions(project=project, model=model, limit=limit)
        return self._transport.call(registry.stage_history, request)

    def tag_model(self, *, project: str, name: str, tags: dict[str, str], idempotency_key: str | None = None) -> None:
        """Set tags of a model.

        Raises:
            NotFound: There is no such model.
            Invalid: A tag cannot be kept.
        """
        request = registry.TagModel(project=project, name=name, tags=tags)
        return self._transport.call(registry.tag_model, request, idempotency_key=idempotency_key)

    def tag_version(
        self, *, project: str, model: str, number: int, tags: dict[str, str], idempotency_key: str | None = None
    ) -> None:
        """Set tags of a version.

        Raises:
            NotFound: There is no such model or version.
            Invalid: A tag cannot be kept.
        """
        request = registry.TagVersion(project=project, model=model, number=number, tags=tags)
        return self._transport.call(registry.tag_version, request, idempotency_key=idempotency_key)

    def trust_version(
        self, *, project: str, model: str, number: int, reason: str, idempotency_key: str | None = None
    ) -> registry.ModelVersion:
        """Answer, as a person, for a version whose bytes could run any code when they are loaded.

        Raises:
            NotFound: There is no such model or version.
            Forbidden: A service asks; only people answer for something.
            Invalid: There is no reason.
            Conflict: The version is retired, or its files are not in the store: nobody could say what they are.
        """
        request = registry.TrustVersion(project=project, model=model, number=number, reason=reason)
        return self._transport.call(registry.trust_version, request, idempotency_key=idempotency_key)

    def untag_model(self, *, project: str, name: str, key: str, idempotency_key: str | None = None) -> None:
        """Remove a tag of a model; one that is not there is gone already.

        Raises:
            NotFound: There is no such model.
        """
        request = registry.UntagModel(project=project, name=name, key=key)
        return self._transport.call(registry.untag_model, request, idempotency_key=idempotency_key)

    def untag_version(
        self, *, project: str, model: str, number: int, key: str, idempotency_key: str | None = None
    ) -> None:
        """Remove a tag of a version; one that is not there is gone already.

        Raises:
            NotFound: There is no such model or version.
        """
        request = registry.UntagVersion(project=project, model=model, number=number, key=key)
        return self._transport.call(registry.untag_version, request, idempotency_key=idempotency_key)


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
            Conflict: A version is retired or not of a format that model servers run, the challenger cannot score what
                the champion takes, the endpoint belongs to another project, or its route is not the one the caller
                expected.
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

    def artifact_tree(self, *, root: str, path: str = "") -> tracking.ArtifactTree:
        """Return an immutable tree of what is at a path and below it now; no bytes are copied.

        Of a file it is a tree with that file alone.

        Raises:
            NotFound: There is no such run or logged model, or nothing at the path.
        """
        request = tracking.ArtifactTreeOf(root=root, path=path)
        return self._transport.call(tracking.artifact_tree, request)

    def change_model(
        self,
        *,
        project: str,
        id: str,
        status: Literal["pending", "ready", "upload_failed"] | None = None,
        status_message: str = "",
        parameters: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
        removed_tags: tuple[str, ...] = (),
        idempotency_key: str | None = None,
    ) -> tracking.LoggedModel:
        """Set the status, parameters and tags of a logged model, and remove tags.

        Raises:
            NotFound: There is no such model, or no such tag to remove.
        """
        request = tracking.ChangeModel(
            project=project,
            id=id,
            status=status,
            status_message=status_message,
            parameters={} if parameters is None else parameters,
            tags={} if tags is None else tags,
            removed_tags=removed_tags,
        )
        return self._transport.call(tracking.change_model, request, idempotency_key=idempotency_key)

    def compare_code(self, *, before: str, after: str, path: str) -> str:
        """Return what changed in a file of the code between two runs, as a unified diff.

        Raises:
            NotFound: A run is not there, or neither has this file.
            TooLarge: The file is larger than 1 MiB.
        """
        request = tracking.CompareCode(before=before, after=after, path=path)
        return self._transport.call(tracking.compare_code, request)

    def compare_runs(self, *, run_ids: tuple[str, ...], alike: bool = False, limit: int = 200) -> tracking.Comparison:
        """Compare runs by parameters, metrics, tags, data, code and environment.

        Raises:
            NotFound: One of them is not there.
            Invalid: Fewer than two, or one twice.
            TooLarge: More than 100.
        """
        request = tracking.CompareRuns(run_ids=run_ids, alike=alike, limit=limit)
        return self._transport.call(tracking.compare_runs, request)

    def create_experiment(
        self,
        *,
        project: str,
        name: str,
        tags: dict[str, str] | None = None,
        id: int | None = None,
        created_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> tracking.Experiment:
        """Make an experiment.

        Raises:
            Conflict: One of this name is there, perhaps deleted.
            Invalid: The name or the number cannot be used.
        """
        request = tracking.CreateExperiment(
            project=project, name=name, tags={} if tags is None else tags, id=id, created_at=created_at
        )
        return self._transport.call(tracking.create_experiment, request, idempotency_key=idempotency_key)

    def create_model(
        self,
        *,
        project: str,
        experiment_id: int,
        name: str = "",
        type: str = "",
        source_run_id: str = "",
        parameters: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
        id: str | None = None,
        created_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> tracking.LoggedModel:
        """Begin a logged model; it is pending until its bytes are there.

        Raises:
            NotFound: There is no such experiment or run.
            Conflict: The experiment is deleted, or the id is taken.
            Invalid: The name is empty or has one of ``/ : . % " '``, or the id is none.
            TooLarge: A text is too long.
        """
        request = tracking.CreateLoggedModel(
            project=project,
            experiment_id=experiment_id,
            name=name,
            type=type,
            source_run_id=source_run_id,
            parameters={} if parameters is None else parameters,
            tags={} if tags is None else tags,
            id=id,
            created_at=created_at,
        )
        return self._transport.call(tracking.create_model, request, idempotency_key=idempotency_key)

    def delete_artifacts(self, *, root: str, path: str = "", idempotency_key: str | None = None) -> int:
        """Remove a file, or a folder with all below it, and return how many files went; none there is no error.

        The bytes stay until nothing needs them: versions of models that were made of them keep them.

        Raises:
            NotFound: There is no such run or logged model.
            Conflict: It is deleted.
        """
        request = tracking.DeleteArtifacts(root=root, path=path)
        return self._transport.call(tracking.delete_artifacts, request, idempotency_key=idempotency_key)

    def delete_experiment(self, *, project: str, id: int, idempotency_key: str | None = None) -> tracking.Experiment:
        """Delete an experiment and its runs: they are hidden, and kept until storage is freed.

        Raises:
            NotFound: There is no active one of this number.
        """
        request = tracking.DeleteExperiment(project=project, id=id)
        return self._transport.call(tracking.delete_experiment, request, idempotency_key=idempotency_key)

    def delete_model(self, *, project: str, id: str, idempotency_key: str | None = None) -> None:
        """Delete a logged model: it is hidden, and kept until storage is freed. One that is deleted stays so.

        Raises:
            NotFound: There is no such model.
        """
        request = tracking.DeleteLoggedModel(project=project, id=id)
        return self._transport.call(tracking.delete_model, request, idempotency_key=idempotency_key)

    def delete_run(self, *, run_id: str, project: str = "", idempotency_key: str | None = None) -> None:
        """Delete a run: it is hidden, and kept until storage is freed. One that is deleted stays so.

        Raises:
            NotFound: There is no such run.
        """
        request = tracking.DeleteRun(run_id=run_id, project=project)
        return self._transport.call(tracking.delete_run, request, idempotency_key=idempotency_key)

    def end_run(
        self,
        *,
        run_id: str,
        status: Literal["running", "scheduled", "finished", "failed", "killed"] = "finished",
        error: str = "",
        ended_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> tracking.Run:
        """End a run; ending it again the same way changes nothing.

        Raises:
            NotFound: There is no such run.
            Conflict: It ended already in another way, or is deleted.
            Invalid: It is none of the ways in which a run ends.
        """
        request = tracking.EndRun(run_id=run_id, status=status, error=error, ended_at=ended_at)
        return self._transport.call(tracking.end_run, request, idempotency_key=idempotency_key)

    def export_artifacts(self, *, root: str, after: str = "", limit: int = 1000) -> list[tracking.Artifact]:
        """Return the files of a run or a logged model by path, a page at a time, with their times.

        Raises:
            NotFound: There is no such run or logged model.
        """
        request = tracking.ExportArtifacts(root=root, after=after, limit=limit)
        return self._transport.call(tracking.export_artifacts, request)

    def export_models(
        self, *, project: str, experiment_id: int, after: str = "", limit: int = 500
    ) -> list[tracking.LoggedModel]:
        """Return logged models of an experiment by id, also deleted ones, a page at a time.

        Raises:
            NotFound: There is no such experiment.
        """
        request = tracking.ExportModels(project=project, experiment_id=experiment_id, after=after, limit=limit)
        return self._transport.call(tracking.export_models, request)

    def export_points(self, *, run_id: str, limit: int = 50000, page_token: str = "") -> tracking.PointPage:
        """Return the points of a run by metric and what was measured, each by time, step and value, a page at a time.

        Raises:
            Invalid: The page token cannot be read.
        """
        request = tracking.ExportPoints(run_id=run_id, limit=limit, page_token=page_token)
        return self._transport.call(tracking.export_points, request)

    def find_artifact(self, *, root: str, path: str) -> tracking.Artifact:
        """Return a file of a run or a logged model: its object, its size, when it came.

        Raises:
            NotFound: There is no such file, run or logged model.
        """
        request = tracking.FindArtifact(root=root, path=path)
        return self._transport.call(tracking.find_artifact, request)

    def find_experiment(self, *, project: str, id: int | None = None, name: str = "") -> tracking.Experiment:
        """Return an experiment by number or name, also a deleted one.

        Raises:
            NotFound: There is none in this project.
        """
        request = tracking.FindExperiment(project=project, id=id, name=name)
        return self._transport.call(tracking.find_experiment, request)

    def find_model(self, *, project: str, id: str, deleted: bool = False) -> tracking.LoggedModel:
        """Return a logged model.

        Raises:
            NotFound: There is none, or it is deleted.
        """
        request = tracking.FindLoggedModel(project=project, id=id, deleted=deleted)
        return self._transport.call(tracking.find_model, request)

    def find_owners(self, *, ids: tuple[str, ...]) -> dict[str, str]:
        """Return which project has the runs and logged models of these ids; those that are not there are left out.

        Raises:
            TooLarge: More than 400 ids in one call.
        """
        request = tracking.FindOwners(ids=ids)
        return self._transport.call(tracking.find_owners, request)

    def find_run(self, *, run_id: str, latest: bool = False, project: str = "") -> tracking.Run:
        """Return a run with everything it logged, also a deleted one.

        Raises:
            NotFound: There is no such run.
        """
        request = tracking.FindRun(run_id=run_id, latest=latest, project=project)
        return self._transport.call(tracking.find_run, request)

    def import_artifacts(
        self, *, source: str, entries: tuple[tracking.Artifact, ...], idempotency_key: str | None = None
    ) -> int:
        """Bring in files of one run or logged model, also of a deleted one; those that are there stay.

        Returns how many were new.

        Raises:
            NotFound: There is no such run or logged model, or one of the objects is not in the store.
            Invalid: A path cannot be kept, an object has another size, or the files belong to several roots.
            TooLarge: More than 10,000 files in one call.
        """
        request = tracking.ImportArtifacts(source=source, entries=entries)
        return self._transport.call(tracking.import_artifacts, request, idempotency_key=idempotency_key)

    def import_datasets(
        self,
        *,
        project: str,
        experiment_id: int,
        source: str,
        datasets: tuple[tracking.LoggedDataset, ...],
        idempotency_key: str | None = None,
    ) -> None:
        """Bring in what clients said about datasets; the first description of a name and digest stays.

        Raises:
            NotFound: There is no such experiment.
            TooLarge: A text is too long.
            Invalid: A text cannot be kept.
        """
        request = tracking.ImportDatasets(
            project=project, experiment_id=experiment_id, source=source, datasets=datasets
        )
        return self._transport.call(tracking.import_datasets, request, idempotency_key=idempotency_key)

    def import_experiment(
        self,
        *,
        project: str,
        name: str,
        source: str,
        created_at: datetime,
        id: int | None = None,
        state: Literal["active", "deleted"] = "active",
        updated_at: datetime | None = None,
        created_by: str = "",
        tags: dict[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> tracking.ImportedExperiment:
        """Bring in an experiment with its times; one of this name is taken for the same, and keeps what it has.

        Raises:
            Invalid: The name cannot be used.
        """
        request = tracking.ImportExperiment(
            project=project,
            name=name,
            source=source,
            created_at=created_at,
            id=id,
            state=state,
            updated_at=updated_at,
            created_by=created_by,
            tags={} if tags is None else tags,
        )
        return self._transport.call(tracking.import_experiment, request, idempotency_key=idempotency_key)

    def import_logbook(
        self, *, project: str, source: str, content: str, count: int, idempotency_key: str | None = None
    ) -> None:
        """Keep the log of another workspace beside this one's, never mixed with what happened here.

        Raises:
            NotFound: The object is not in the store.
        """
        request = tracking.ImportLogbook(project=project, source=source, content=content, count=count)
        return self._transport.call(tracking.import_logbook, request, idempotency_key=idempotency_key)

    def import_models(
        self, *, project: str, source: str, models: tuple[tracking.LoggedModel, ...], idempotency_key: str | None = None
    ) -> tuple[tracking.Imported, ...]:
        """Bring in logged models with their ids and times; of those that are there, what they lack.

        Raises:
            NotFound: There is no such experiment.
            TooLarge: More than 1,000 models in one call.
        """
        request = tracking.ImportModels(project=project, source=source, models=models)
        return self._transport.call(tracking.import_models, request, idempotency_key=idempotency_key)

    def import_points(
        self, *, run_id: str, source: str, series: tuple[tracking.MetricSeries, ...], idempotency_key: str | None = None
    ) -> int:
        """Bring in points of a run, also of a deleted one, and return how many were new.

        Raises:
            NotFound: There is no such run.
            Invalid: Columns differ in length, or a name, step or time cannot be kept.
            TooLarge: More than 200,000 points in one call.
        """
        request = tracking.ImportPoints(run_id=run_id, source=source, series=series)
        return self._transport.call(tracking.import_points, request, idempotency_key=idempotency_key)

    def import_runs(
        self,
        *,
        project: str,
        experiment_id: int,
        source: str,
        runs: tuple[tracking.ImportedRun, ...],
        idempotency_key: str | None = None,
    ) -> tuple[tracking.Imported, ...]:
        """Bring in runs with their ids and times; of those that are there, what they lack.

        Raises:
            NotFound: There is no such experiment.
            TooLarge: More than 1,000 runs in one call.
        """
        request = tracking.ImportRuns(project=project, experiment_id=experiment_id, source=source, runs=runs)
        return self._transport.call(tracking.import_runs, request, idempotency_key=idempotency_key)

    def list_artifacts(
        self, *, root: str, path: str = "", recursive: bool = False, after: str = "", limit: int = 1000
    ) -> tracking.ArtifactPage:
        """List artifacts of a run or a logged model, a page at a time; nothing there is an empty page.

        One level costs what it shows, however many files lie in the folders that it names.

        Raises:
            NotFound: There is no such run or logged model.
        """
        request = tracking.ListArtifacts(root=root, path=path, recursive=recursive, after=after, limit=limit)
        return self._transport.call(tracking.list_artifacts, request)

    def list_datasets(
        self, *, project: str, experiment_ids: tuple[int, ...], limit: int = 1000
    ) -> list[tracking.DatasetSummary]:
        """List the datasets that active runs of experiments read.

        Raises:
            TooLarge: More than 20 experiments.
        """
        request = tracking.ListDatasets(project=project, experiment_ids=experiment_ids, limit=limit)
        return self._transport.call(tracking.list_datasets, request)

    def list_metrics(self, *, experiment_id: int, contains: str = "", limit: int = 100) -> list[str]:
        """List the names of the metrics of an experiment; the cost follows the names, not the runs."""
        request = tracking.ListMetrics(experiment_id=experiment_id, contains=contains, limit=limit)
        return self._transport.call(tracking.list_metrics, request)

    def list_projects(self) -> list[str]:
        """List the projects that have experiments, in order."""
        request = tracking.ListProjects()
        return self._transport.call(tracking.list_projects, request)

    def list_runs(
        self,
        *,
        project: str | None = None,
        experiment: str | None = None,
        kind: str | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[tracking.Run]:
        """List active runs, newest first.

        Raises:
            NotFound: There is no run that the page is to start after.
        """
        request = tracking.ListRuns(project=project, experiment=experiment, kind=kind, before=before, limit=limit)
        return self._transport.call(tracking.list_runs, request)

    def log_datasets(
        self,
        *,
        run_id: str,
        datasets: tuple[tracking.DatasetUse, ...],
        project: str = "",
        idempotency_key: str | None = None,
    ) -> None:
        """Say which datasets a run read; in an experiment the first description of a dataset stays.

        Raises:
            NotFound: There is no such run.
            Conflict: It is deleted.
            Invalid: A name or a digest is missing.
            TooLarge: A text is too long.
        """
        request = tracking.LogDatasets(run_id=run_id, datasets=datasets, project=project)
        return self._transport.call(tracking.log_datasets, request, idempotency_key=idempotency_key)

    def log_run(
        self,
        *,
        run_id: str,
        metrics: dict[str, float] | None = None,
        points: tuple[tracking.MetricPoint, ...] = (),
        parameters: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
        links: tuple[tracking.RunLink, ...] = (),
        series: tuple[tracking.MetricSeries, ...] = (),
        project: str = "",
        idempotency_key: str | None = None,
    ) -> None:
        """Add metrics, parameters, tags and links to a run, all or none; the same point twice is kept once.

        Raises:
            NotFound: There is no such run.
            Conflict: It is deleted.
            Invalid: A name cannot be used, or a parameter is there with another value.
            TooLarge: More than 10,000 points in one call, or a text is too long.
        """
        request = tracking.LogRun(
            run_id=run_id,
            metrics={} if metrics is None else metrics,
            points=points,
            parameters={} if parameters is None else parameters,
            tags={} if tags is None else tags,
            links=links,
            series=series,
            project=project,
        )
        return self._transport.call(tracking.log_run, request, idempotency_key=idempotency_key)

    def log_runs(
        self, *, entries: tuple[tracking.LogRun, ...], idempotency_key: str | None = None
    ) -> tuple[tracking.Logged, ...]:
        """Log to several runs at once: what comes together from many clients costs one transaction and one flush.

        Raises:
            TooLarge: More than 1,000 entries in one call.
        """
        request = tracking.LogRuns(entries=entries)
        return self._transport.call(tracking.log_runs, request, idempotency_key=idempotency_key)

    def metric_history(
        self, *, run_id: str, name: str, limit: int | None = None, page_token: str = "", project: str = ""
    ) -> tracking.History:
        """Return the points of a metric by time, step and value; a run or metric that is not there has none.

        The cost of a page follows its length, not that of the history.
        """
        request = tracking.MetricHistory(run_id=run_id, name=name, limit=limit, page_token=page_token, project=project)
        return self._transport.call(tracking.metric_history, request)

    def missing_objects(self, *, digests: tuple[str, ...]) -> list[str]:
        """Return those of these objects that are not in the store and have to be uploaded.

        Raises:
            TooLarge: More than 400 digests in one call.
        """
        request = tracking.MissingObjects(digests=digests)
        return self._transport.call(tracking.missing_objects, request)

    def put_artifacts(
        self, *, root: str, entries: tuple[tracking.PutArtifact, ...], idempotency_key: str | None = None
    ) -> None:
        """Put files into a run or a logged model, all or none, in place of those of the same path.

        Raises:
            NotFound: There is no such run or logged model, or one of the objects is not in the store.
            Conflict: The run or logged model is deleted, or a file would take the place of a folder.
            TooLarge: More than 10,000 files in one call.
        """
        request = tracking.PutArtifacts(root=root, entries=entries)
        return self._transport.call(tracking.put_artifacts, request, idempotency_key=idempotency_key)

    def restore_experiment(self, *, project: str, id: int, idempotency_key: str | None = None) -> tracking.Experiment:
        """Bring a deleted experiment back, with all its runs.

        Raises:
            NotFound: There is no deleted one of this number.
        """
        request = tracking.RestoreExperiment(project=project, id=id)
        return self._transport.call(tracking.restore_experiment, request, idempotency_key=idempotency_key)

    def restore_run(self, *, run_id: str, project: str = "", idempotency_key: str | None = None) -> None:
        """Bring a deleted run back. One that is active stays so.

        Raises:
            NotFound: There is no such run.
        """
        request = tracking.RestoreRun(run_id=run_id, project=project)
        return self._transport.call(tracking.restore_run, request, idempotency_key=idempotency_key)

    def runs_datasets(self, *, run_ids: tuple[str, ...], profiles: bool = True) -> list[tracking.RunDataset]:
        """Return the datasets that runs read, as clients described them.

        Raises:
            TooLarge: More than 50,000 runs.
        """
        request = tracking.RunsDatasets(run_ids=run_ids, profiles=profiles)
        return self._transport.call(tracking.runs_datasets, request)

    def sample_histories(
        self,
        *,
        run_ids: tuple[str, ...],
        name: str,
        limit: int = 1000,
        start_step: int | None = None,
        end_step: int | None = None,
        project: str = "",
    ) -> list[tracking.History]:
        """Return a metric of several runs for a chart: of each at most so many points, and always the last.

        Raises:
            TooLarge: More than 100 runs.
            Invalid: Only one of the two steps was said.
        """
        request = tracking.SampleHistories(
            run_ids=run_ids, name=name, limit=limit, start_step=start_step, end_step=end_step, project=project
        )
        return self._transport.call(tracking.sample_histories, request)

    def search_experiments(
        self,
        *,
        project: str,
        filter: str = "",
        order_by: tuple[str, ...] = (),
        view: Literal["active", "deleted", "all"] = "active",
        limit: int = 100,
        page_token: str = "",
    ) -> tracking.ExperimentPage:
        """Search the experiments of a project."""
        request = tracking.SearchExperiments(
            project=project, filter=filter, order_by=order_by, view=view, limit=limit, page_token=page_token
        )
        return self._transport.call(tracking.search_experiments, request)

    def search_models(
        self,
        *,
        project: str,
        experiment_ids: tuple[int, ...],
        filter: str = "",
        datasets: tuple[tracking.ModelDataset, ...] = (),
        order_by: tuple[tracking.ModelOrder, ...] = (),
        limit: int = 100,
        page_token: str = "",
    ) -> tracking.LoggedModelPage:
        """Search logged models.

        Raises:
            Invalid: The filter, an order or the page token cannot be read.
            TooLarge: More than 100 orders or datasets.
        """
        request = tracking.SearchLoggedModels(
            project=project,
            experiment_ids=experiment_ids,
            filter=filter,
            datasets=datasets,
            order_by=order_by,
            limit=limit,
            page_token=page_token,
        )
        return self._transport.call(tracking.search_models, request)

    def search_runs(
        self,
        *,
        project: str,
        experiment_ids: tuple[int, ...] | None = None,
        filter: str = "",
        order_by: tuple[str, ...] = (),
        view: Literal["active", "deleted", "all"] = "active",
        limit: int = 100,
        page_token: str = "",
        metrics: tuple[str, ...] | None = None,
        parameters: tuple[str, ...] | None = None,
        tags: tuple[str, ...] | None = None,
        latest: bool = False,
    ) -> tracking.RunPage:
        """Search runs by what they logged; the cost of a page follows what it shows, not how many runs there are.

        Raises:
            Invalid: The filter, an order or the page token cannot be read.
        """
        request = tracking.SearchRuns(
            project=project,
            experiment_ids=experiment_ids,
            filter=filter,
            order_by=order_by,
            view=view,
            limit=limit,
            page_token=page_token,
            metrics=metrics,
            parameters=parameters,
            tags=tags,
            latest=latest,
        )
        return self._transport.call(tracking.search_runs, request)

    def start_run(
        self,
        *,
        project: str,
        experiment: str = "",
        name: str = "",
        kind: str = "training",
        id: str | None = None,
        parent_id: str | None = None,
        parameters: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
        links: tuple[tracking.RunLink, ...] = (),
        experiment_id: int | None = None,
        started_at: datetime | None = None,
        user: str = "",
        idempotency_key: str | None = None,
    ) -> tracking.Run:
        """Begin a run; beginning the same id again returns the run that is there.

        Raises:
            NotFound: There is no experiment of this number.
            Conflict: The experiment is deleted, or a run of another project has this id.
            Invalid: It is said by neither name nor number, or a name cannot be used.
            TooLarge: A text is too long.
        """
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
            experiment_id=experiment_id,
            started_at=started_at,
            user=user,
        )
        return self._transport.call(tracking.start_run, request, idempotency_key=idempotency_key)

    def tag_experiment(
        self,
        *,
        project: str,
        id: int,
        tags: dict[str, str] | None = None,
        removed: tuple[str, ...] = (),
        idempotency_key: str | None = None,
    ) -> tracking.Experiment:
        """Set and remove tags of an experiment.

        Raises:
            NotFound: There is no such experiment, or no such tag to remove.
            Conflict: It is deleted.
        """
        request = tracking.TagExperiment(project=project, id=id, tags={} if tags is None else tags, removed=removed)
        return self._transport.call(tracking.tag_experiment, request, idempotency_key=idempotency_key)

    def untag_run(self, *, run_id: str, name: str, project: str = "", idempotency_key: str | None = None) -> None:
        """Remove a tag from a run.

        Raises:
            NotFound: There is no such run, or no such tag.
            Conflict: The run is deleted.
        """
        request = tracking.UntagRun(run_id=run_id, name=name, project=project)
        return self._transport.call(tracking.untag_run, request, idempotency_key=idempotency_key)

    def update_experiment(
        self, *, project: str, id: int, name: str, idempotency_key: str | None = None
    ) -> tracking.Experiment:
        """Rename an experiment.

        Raises:
            NotFound: There is none of this number.
            Conflict: It is deleted, or another one has the name.
        """
        request = tracking.UpdateExperiment(project=project, id=id, name=name)
        return self._transport.call(tracking.update_experiment, request, idempotency_key=idempotency_key)

    def update_run(
        self,
        *,
        run_id: str,
        name: str | None = None,
        status: Literal["running", "scheduled", "finished", "failed", "killed"] | None = None,
        ended_at: datetime | None = None,
        project: str = "",
        idempotency_key: str | None = None,
    ) -> tracking.Run:
        """Change the name, the status or the end of a run; one that gets the status of an end has ended.

        One that runs again has no end, until it has another.

        Raises:
            NotFound: There is no such run.
            Conflict: It is deleted.
            TooLarge: The name is too long.
        """
        request = tracking.UpdateRun(run_id=run_id, name=name, status=status, ended_at=ended_at, project=project)
        return self._transport.call(tracking.update_run, request, idempotency_key=idempotency_key)


class Client(Connection):
    """Everything undrift can do, by room; made by `connect`.

    Attributes:
        data: Tables that grow, every version of which can be read again; checks before rows are let in; quarantine.
        events: Everything that happens is an event, appended in the transaction of the change it tells of.
        governance: Who may do what, and what is kept for how long; proof is the log's (`undrift.events.verify_log`).
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
        self.governance = Governance(self._transport)
        self.loop = Loop(self._transport)
        self.monitoring = Monitoring(self._transport)
        self.registry = Registry(self._transport)
        self.serving = Serving(self._transport)
        self.tracking = Tracking(self._transport)
