"""What the lines of a journal say: what a run began with, points, words, files, and how it ended."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec

__all__ = [
    "Begun",
    "Ended",
    "Link",
    "Points",
    "Record",
    "Said",
    "Series",
    "UploadFile",
    "UploadFolder",
    "decode",
    "encode",
    "usable_name",
    "word",
]

_NO_NAME = re.compile(r"[^/\w.\- :]")
_NAME_CHARACTERS = 250

Number: TypeAlias = float | Literal["NaN", "Infinity", "-Infinity"]


class Series(msgspec.Struct, array_like=True):
    """Points of one metric, as columns of one length; times are milliseconds since 1970."""

    steps: list[int]
    times_ms: list[int]
    values: list[Number]

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, other: Series) -> None:
        """Append the points of another one."""
        self.steps += other.steps
        self.times_ms += other.times_ms
        self.values += other.values


class Link(msgspec.Struct, frozen=True):
    """Something the run read or made; see `undrift.tracking.RunLink`."""

    role: Literal["input", "output"]
    kind: str
    name: str
    ref: str
    context: str = ""
    details: dict[str, Any] | None = None


class Begun(msgspec.Struct, frozen=True, tag="begun", tag_field="is"):
    """The run as it began.

    Attributes:
        goes_on: Whether it may have been recorded before: one that ended runs again.
    """

    id: str
    project: str
    experiment: str
    name: str
    kind: str
    started_at: datetime
    parent_id: str | None = None
    goes_on: bool = False


class Points(msgspec.Struct, frozen=True, tag="points", tag_field="is"):
    """Values of metrics."""

    series: dict[str, Series]


class Said(msgspec.Struct, frozen=True, tag="said", tag_field="is", omit_defaults=True):
    """Parameters, tags and links."""

    parameters: dict[str, Any] = {}
    tags: dict[str, str] = {}
    links: tuple[Link, ...] = ()


class Ended(msgspec.Struct, frozen=True, tag="ended", tag_field="is"):
    """How the run ended."""

    status: Literal["finished", "failed", "killed"]
    error: str
    ended_at: datetime


class UploadFile(msgspec.Struct, frozen=True, tag="file", tag_field="is"):
    """A file that becomes an artifact.

    Attributes:
        path: Of the artifact.
        source: Where the bytes are; relative to the run's folder when they were kept there.
        size_bytes: Its size when it was named.
        mtime_ns: When it was changed last before that.
    """

    path: str
    source: str
    size_bytes: int
    mtime_ns: int


class UploadFolder(msgspec.Struct, frozen=True, tag="folder", tag_field="is"):
    """A folder kept in the run's folder that becomes artifacts, and a link to the tree of them.

    Attributes:
        path: Below which the artifacts lie.
        source: Relative to the run's folder.
        kind: Of the link.
        name: Of the link.
    """

    path: str
    source: str
    kind: str
    name: str


Record: TypeAlias = Begun | Points | Said | Ended | UploadFile | UploadFolder

encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Record)


def decode(payloads: Iterable[bytes]) -> list[Record]:
    """Read lines of a journal; one of a newer undrift raises `msgspec.ValidationError`."""
    return [_decoder.decode(payload) for payload in payloads]


def usable_name(name: str) -> str:
    """Return a name that a metric, a parameter or a tag can have: the same one, or the one nearest to it.

    Raises:
        ValueError: There is nothing to make one of.

    >>> usable_name("val/loss"), usable_name("acc@5"), usable_name("/a//b")
    ('val/loss', 'acc_5', 'a/b')
    """
    cleaned = posixpath.normpath(_NO_NAME.sub("_", name).lstrip("/"))[:_NAME_CHARACTERS]
    while cleaned.startswith("../"):
        cleaned = cleaned[3:]
    if not name or cleaned in {"", ".", ".."}:
        raise ValueError(f"{name[:80]!r} cannot name anything")
    return posixpath.normpath(cleaned)


def word(value: float) -> Number:
    """Return a number, or the word for one that JSON does not have.

    >>> word(1.5), word(float("-inf"))
    (1.5, '-Infinity')
    """
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
