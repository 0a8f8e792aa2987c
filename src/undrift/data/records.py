"""Data in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from undrift.data.model import Dataset, DatasetVersion, Quarantine
from undrift.data.tables import dataset_versions, datasets, quarantines
from undrift.metastore import to_struct

__all__ = [
    "add_dataset",
    "add_quarantine",
    "add_version",
    "end_quarantine",
    "find_checks",
    "find_dataset",
    "find_version",
    "list_datasets",
    "list_quarantines",
    "list_versions",
    "lock_dataset",
    "set_checks",
]

_dataset_columns = [column for column in datasets.c if column.name != "checks"]


def add_dataset(tx: sa.Connection, dataset: Dataset) -> None:
    """Add a dataset, without checks."""
    tx.execute(sa.insert(datasets).values(**msgspec.structs.asdict(dataset), checks=[]))


def find_dataset(tx: sa.Connection, project: str, name: str) -> Dataset | None:
    """Return the dataset of that name."""
    query = sa.select(*_dataset_columns).where(datasets.c.project == project, datasets.c.name == name)
    row = tx.execute(query).mappings().first()
    return None if row is None else Dataset(**row)


def list_datasets(tx: sa.Connection, project: str | None) -> list[Dataset]:
    """Return datasets, by name."""
    query = sa.select(*_dataset_columns).order_by(datasets.c.project, datasets.c.name)
    if project is not None:
        query = query.where(datasets.c.project == project)
    return [Dataset(**row) for row in tx.execute(query).mappings()]


def lock_dataset(tx: sa.Connection, dataset_id: str) -> None:
    """Make others that would add a version wait for this transaction."""
    if tx.dialect.name == "postgresql":
        tx.execute(sa.select(datasets.c.id).where(datasets.c.id == dataset_id).with_for_update())


def find_checks(tx: sa.Connection, dataset_id: str) -> list[dict[str, Any]]:
    """Return the checks of a dataset, as they were stored."""
    found: list[dict[str, Any]] = tx.scalar(sa.select(datasets.c.checks).where(datasets.c.id == dataset_id)) or []
    return found


def set_checks(tx: sa.Connection, dataset_id: str, checks: Sequence[Any]) -> None:
    """Replace the checks of a dataset."""
    tx.execute(sa.update(datasets).where(datasets.c.id == dataset_id).values(checks=list(checks)))


def add_version(tx: sa.Connection, version: DatasetVersion) -> None:
    """Add a version."""
    tx.execute(sa.insert(dataset_versions).values(**msgspec.structs.asdict(version)))


def find_version(tx: sa.Connection, dataset_id: str, *, number: int | None = None) -> DatasetVersion | None:
    """Return a version by number, or the newest."""
    query = sa.select(dataset_versions).where(dataset_versions.c.dataset_id == dataset_id)
    if number is not None:
        query = query.where(dataset_versions.c.number == number)
    row = tx.execute(query.order_by(dataset_versions.c.number.desc()).limit(1)).mappings().first()
    return None if row is None else to_struct(row, DatasetVersion)


def list_versions(tx: sa.Connection, dataset_id: str, *, limit: int) -> list[DatasetVersion]:
    """Return versions, newest first."""
    query = (
        sa.select(dataset_versions)
        .where(dataset_versions.c.dataset_id == dataset_id)
        .order_by(dataset_versions.c.number.desc())
        .limit(limit)
    )
    return [to_struct(row, DatasetVersion) for row in tx.execute(query).mappings()]


def add_quarantine(tx: sa.Connection, quarantine: Quarantine) -> None:
    """Add a stretch."""
    tx.execute(sa.insert(quarantines).values(**msgspec.structs.asdict(quarantine)))


def end_quarantine(tx: sa.Connection, quarantine_id: str, end: datetime) -> None:
    """Say where a stretch ends."""
    tx.execute(sa.update(quarantines).where(quarantines.c.id == quarantine_id).values(end=end))


def list_quarantines(
    tx: sa.Connection, project: str, *, dataset: str | None = None, incident_id: str | None = None
) -> list[Quarantine]:
    """Return stretches, oldest first."""
    query = sa.select(quarantines).where(quarantines.c.project == project).order_by(quarantines.c.start)
    if dataset is not None:
        query = query.where(quarantines.c.dataset == dataset)
    if incident_id is not None:
        query = query.where(quarantines.c.incident_id == incident_id)
    return [to_struct(row, Quarantine) for row in tx.execute(query).mappings()]
