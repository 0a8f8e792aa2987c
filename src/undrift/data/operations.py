"""What can be done with datasets from anywhere; adding and reading rows is in ``versions.py``, where the rows are."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, Invalid
from undrift.core.ids import check_name, new_id
from undrift.core.operation import operation
from undrift.data import records
from undrift.data.model import Dataset, DatasetVersion, Quarantine
from undrift.data.versions import find_dataset

__all__ = [
    "AddQuarantine",
    "DatasetSummary",
    "EndQuarantine",
    "ListDatasetVersions",
    "ListDatasets",
    "ListQuarantines",
    "RegisterDataset",
    "add_quarantine",
    "end_quarantine",
    "list_dataset_versions",
    "list_datasets",
    "list_quarantines",
    "register_dataset",
]


class RegisterDataset(msgspec.Struct, frozen=True):
    """A dataset to make known; see `undrift.data.Dataset` for the fields."""

    project: str
    name: str
    key: str
    time: str
    known_at: str
    owner: str


class ListDatasets(msgspec.Struct, frozen=True):
    """Of which project; of all when left out."""

    project: str | None = None


class DatasetSummary(msgspec.Struct, frozen=True):
    """A dataset and its newest version."""

    dataset: Dataset
    newest: DatasetVersion | None


class ListDatasetVersions(msgspec.Struct, frozen=True):
    """Of which dataset, at most so many (1 to 1,000), newest first."""

    project: str
    dataset: str
    limit: int = 100


class AddQuarantine(msgspec.Struct, frozen=True):
    """A stretch to keep out of training; see `undrift.data.Quarantine` for the fields."""

    project: str
    dataset: str
    columns: tuple[str, ...]
    start: datetime
    reason: str
    end: datetime | None = None
    incident_id: str | None = None
    evidence: dict[str, Any] = {}


class EndQuarantine(msgspec.Struct, frozen=True):
    """Where the open stretches of an incident end."""

    project: str
    incident_id: str
    end: datetime


class ListQuarantines(msgspec.Struct, frozen=True):
    """Of which project, and of which dataset when named."""

    project: str
    dataset: str | None = None


@operation("data.register_dataset", permission="data:write", emits=("dataset.created",))
def register_dataset(ctx: Context, request: RegisterDataset) -> Dataset:
    """Make a dataset known; returns the one that is there when it is.

    Raises:
        Conflict: There is one of that name with another key or other time columns.
    """
    check_name(request.project, "project")
    check_name(request.name, "dataset")
    with ctx.begin() as tx:
        known = records.find_dataset(tx, request.project, request.name)
        if known is not None:
            if (known.key, known.time, known.known_at) != (request.key, request.time, request.known_at):
                raise Conflict(
                    f"Dataset {known.name!r} has key {known.key!r} and times {known.time!r}, {known.known_at!r}; "
                    "they cannot change once versions were made.",
                    next_step="Register the new shape under another name.",
                )
            return known
        dataset = Dataset(id=new_id(), created_at=ctx.now(), **msgspec.structs.asdict(request))
        records.add_dataset(tx, dataset)
        ctx.emit("dataset.created", f"datasets/{dataset.name}", project=dataset.project, owner=dataset.owner)
        return dataset


@operation("data.list_datasets", permission="data:read")
def list_datasets(ctx: Context, request: ListDatasets) -> list[DatasetSummary]:
    """List datasets with their newest version."""
    with ctx.read() as tx:
        return [
            DatasetSummary(dataset, records.find_version(tx, dataset.id))
            for dataset in records.list_datasets(tx, request.project)
        ]


@operation("data.list_versions", permission="data:read")
def list_dataset_versions(ctx: Context, request: ListDatasetVersions) -> list[DatasetVersion]:
    """List the versions of a dataset, newest first."""
    dataset = find_dataset(ctx, request.project, request.dataset)
    with ctx.read() as tx:
        return records.list_versions(tx, dataset.id, limit=max(1, min(request.limit, 1000)))


@operation("data.add_quarantine", permission="data:write", emits=("dataset.quarantined",))
def add_quarantine(ctx: Context, request: AddQuarantine) -> Quarantine:
    """Keep a stretch of a dataset out of training, with the reason.

    Raises:
        NotFound: There is no such dataset.
        Invalid: The stretch ends before it begins.
    """
    find_dataset(ctx, request.project, request.dataset)
    if request.end is not None and request.end <= request.start:
        raise Invalid(
            f"The stretch ends on {request.end.isoformat()}, but begins on {request.start.isoformat()}.",
            next_step="Leave the end out while the fault lasts.",
        )
    with ctx.begin() as tx:
        quarantine = Quarantine(id=new_id(), created_at=ctx.now(), **msgspec.structs.asdict(request))
        records.add_quarantine(tx, quarantine)
        ctx.emit(
            "dataset.quarantined",
            f"datasets/{quarantine.dataset}",
            project=quarantine.project,
            columns=quarantine.columns,
            start=quarantine.start,
            end=quarantine.end,
            reason=quarantine.reason,
            incident_id=quarantine.incident_id,
        )
        return quarantine


@operation("data.end_quarantine", permission="data:write", emits=("dataset.quarantine_ended",))
def end_quarantine(ctx: Context, request: EndQuarantine) -> list[Quarantine]:
    """Say where the open stretches of an incident end; what lies in them stays out of training."""
    with ctx.begin() as tx:
        ended = []
        for quarantine in records.list_quarantines(tx, request.project, incident_id=request.incident_id):
            if quarantine.end is None:
                records.end_quarantine(tx, quarantine.id, request.end)
                ended.append(msgspec.structs.replace(quarantine, end=request.end))
                ctx.emit(
                    "dataset.quarantine_ended",
                    f"datasets/{quarantine.dataset}",
                    project=quarantine.project,
                    start=quarantine.start,
                    end=request.end,
                    incident_id=request.incident_id,
                )
        return ended


@operation("data.list_quarantines", permission="data:read")
def list_quarantines(ctx: Context, request: ListQuarantines) -> list[Quarantine]:
    """List what is kept out of training, oldest first."""
    with ctx.read() as tx:
        return records.list_quarantines(tx, request.project, dataset=request.dataset)
