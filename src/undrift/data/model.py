"""The nouns of data: dataset, its versions, columns, and what is in quarantine."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

__all__ = ["Column", "Dataset", "DatasetVersion", "Quarantine"]


class Dataset(msgspec.Struct, frozen=True):
    """A table that grows and whose every version can be read again.

    Attributes:
        id: Its id.
        project: Whose it is.
        name: Its name in the project.
        key: Column that names a row; several rows of one key are several reports about it.
        time: Column that says when a row's facts held (event time).
        known_at: Column that says when they became known; the same as ``time`` when nothing is reported late.
        owner: Who hears when something is wrong with it.
        created_at: Since when it is known here.
    """

    id: str
    project: str
    name: str
    key: str
    time: str
    known_at: str
    owner: str
    created_at: datetime


class Column(msgspec.Struct, frozen=True):
    """A column with its type, and whether values may be missing."""

    name: str
    type: str
    nullable: bool


class DatasetVersion(msgspec.Struct, frozen=True):
    """An immutable version of a dataset: a commit in the store.

    Attributes:
        id: The commit's content address.
        dataset_id: Of which dataset.
        number: 1, 2, 3 … within the dataset.
        parent: The version it grew from.
        columns: Its schema.
        rows: Rows in it, all parts together, quarantine left out.
        added_rows: Rows this version added.
        quarantined_rows: Rows this version put aside instead.
        size_bytes: Bytes this version added to the store.
        known_until: Everything known up to here is in it.
        profile: Object with the profile of the rows it added.
        created_at: When it was made.
        author: Who made it.
        message: Why.
    """

    id: str
    dataset_id: str
    number: int
    parent: str | None
    columns: tuple[Column, ...]
    rows: int
    added_rows: int
    quarantined_rows: int
    size_bytes: int
    known_until: datetime
    profile: str
    created_at: datetime
    author: str
    message: str


class Quarantine(msgspec.Struct, frozen=True):
    """A stretch of a dataset that is not to be learnt from.

    Attributes:
        id: Its id.
        project: Whose it is.
        dataset: Name of the dataset.
        columns: The columns that are wrong.
        start: From this event time on.
        end: Up to, but without, this event time; open while the fault lasts.
        reason: What is wrong, in a sentence.
        incident_id: The incident that found it, when one did.
        created_at: When it was put there.
        evidence: What it was based on.
    """

    id: str
    project: str
    dataset: str
    columns: tuple[str, ...]
    start: datetime
    end: datetime | None
    reason: str
    incident_id: str | None
    created_at: datetime
    evidence: dict[str, Any] = {}
