"""Takes the servers' log files into the store: every prediction once, whatever is killed, whoever else collects.

A stretch of a file becomes, in one transaction, one segment an endpoint, its rows in the index, an event, and the
offset from which to go on. Whoever finds the offset moved has been overtaken and leaves it at that. The Parquet file is
stored before: killed in between, it is an object that nobody refers to, and the stretch is read again.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Unavailable
from undrift.core.ids import new_id
from undrift.serving import records
from undrift.serving.frames import Loss, Predictions, decode
from undrift.serving.model import Segment
from undrift.serving.segments import table_of, to_parquet
from undrift.serving.wal import SUFFIX, read_frames, writer_is_gone

if TYPE_CHECKING:
    import sqlalchemy as sa

__all__ = ["ROWS_A_SEGMENT", "CollectReport", "collect"]

ROWS_A_SEGMENT = 50_000
_BYTES_A_STRETCH = 32 << 20
_TRIES = 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CollectReport(msgspec.Struct, frozen=True):
    """What one round of collecting did.

    Attributes:
        rows: Predictions collected.
        duplicates: Rows left out because their prediction id had been there before.
        dropped: Predictions the servers said they could not log.
        segments: Parquet files made.
        finished: Log files of servers that are gone, collected to their end and removed.
        torn: Those of them that ended in bytes that are no frame; these are kept, as ``*.wal.torn``.
        problems: Files that could not be read on, and why.
    """

    rows: int = 0
    duplicates: int = 0
    dropped: int = 0
    segments: int = 0
    finished: int = 0
    torn: int = 0
    problems: tuple[str, ...] = ()


class _Part:
    """What a stretch of a file says of one endpoint."""

    def __init__(self, project: str, first_offset: int) -> None:
        self.project = project
        self.first_offset = first_offset
        self.next_offset = first_offset
        self.frames: list[Predictions] = []
        self.dropped = 0

    def ids(self) -> list[str]:
        return [id_ for frame in self.frames for id_ in frame.ids]

    def event_times(self) -> list[int]:
        moments: list[int] = []
        for frame in self.frames:
            moments += [frame.answered_at] * len(frame.ids) if frame.event_times is None else frame.event_times
        return moments


class _Stretch(msgspec.Struct, frozen=True):
    """A piece of a file, by endpoint."""

    wal: str
    offset: int
    next_offset: int
    parts: dict[str, _Part]


class _Made(NamedTuple):
    """A segment whose file is in the store, and what is to be recorded with it."""

    segment: Segment
    project: str
    ids: list[str]
    event_times: list[datetime]


class _OvertakenError(Exception):
    """Another collector has indexed a prediction of this stretch since it was looked for."""


def collect(ctx: Context, folder: Path) -> CollectReport:
    """Collect what the log files in a folder have gained since the last time.

    Any number of collectors may run at once, and any may be killed. Memory is bounded by the size of a segment, not by
    the length of the files.

    Args:
        ctx: The call's context.
        folder: Where the servers of this workspace keep their log files; one that is not there has none.

    Raises:
        Unavailable: The database or the store is away or full; what was collected so far stays.
    """
    tally: Counter[str] = Counter()
    problems = []
    # Names are ids, so this is the order in which the files were begun: the first of two equal prediction ids counts.
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            torn_bytes = _collect_file(ctx, path, tally)
        except FileNotFoundError:
            continue  # another collector has finished it
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror or error}.")
        except msgspec.DecodeError as error:
            problems.append(f"{path}: a frame cannot be read ({error}); was it written by another version of undrift?")
        else:
            if torn_bytes:
                problems.append(
                    f"{path} ended in {torn_bytes} bytes that are no frame; it is kept as {path.name}.torn."
                )
    return CollectReport(**tally, problems=tuple(problems))


def _collect_file(ctx: Context, path: Path, tally: Counter[str]) -> int:
    """Collect one file; returns how many bytes of it are no frames, once it is finished."""
    # Asked first: when the writer is gone now, what is read from here on is all there will ever be.
    gone = writer_is_gone(path)
    while True:
        with ctx.read() as tx:
            offset = records.wal_offset(tx, path.name)
        if offset is None:
            _remove(path, torn=path.stat().st_size > _collected(ctx, path.name))
            return 0
        stretch = _read_stretch(path, offset)
        if stretch.next_offset == offset:
            break
        _store(ctx, stretch, tally)
    if not gone:
        return 0
    torn_bytes = path.stat().st_size - offset
    with ctx.begin() as tx:
        if records.wal_offset(tx, path.name) == offset:
            records.finish_wal(tx, path.name, torn_bytes, ctx.now())
            tally["finished"] += 1
            tally["torn"] += torn_bytes > 0
    _remove(path, torn=torn_bytes > 0)
    return torn_bytes


def _collected(ctx: Context, wal: str) -> int:
    with ctx.read() as tx:
        return records.collected_bytes(tx, wal)


def _remove(path: Path, *, torn: bool) -> None:
    if torn:
        # What is no frame is not ours to throw away: it may be damage that somebody wants to look at.
        path.rename(path.with_name(path.name + ".torn"))
    else:
        path.unlink(missing_ok=True)


def _read_stretch(path: Path, offset: int) -> _Stretch:
    parts: dict[str, _Part] = {}
    rows = 0
    position = offset
    for payload, next_offset in read_frames(path, offset):
        try:
            frame = decode(payload)
        except msgspec.DecodeError:
            if position == offset:
                raise
            break  # what comes before it is collected first
        if isinstance(frame, Loss):
            part = parts.setdefault(frame.endpoint, _Part(frame.project, position))
            part.dropped += frame.rows
        else:
            if rows and rows + len(frame.ids) > ROWS_A_SEGMENT:
                break
            part = parts.setdefault(frame.head.endpoint, _Part(frame.head.project, position))
            part.frames.append(frame)
            rows += len(frame.ids)
        part.next_offset = position = next_offset
        if position - offset >= _BYTES_A_STRETCH:
            break
    return _Stretch(path.name, offset, position, parts)


def _store(ctx: Context, stretch: _Stretch, tally: Counter[str]) -> None:
    for _ in range(_TRIES):
        with ctx.read() as tx:
            ids = [id_ for part in stretch.parts.values() for id_ in part.ids()]
            seen = set(records.known_predictions(tx, ids))
        made = [_make(ctx, stretch.wal, endpoint, part, seen) for endpoint, part in stretch.parts.items()]
        try:
            with ctx.begin() as tx:
                if not records.advance_wal(tx, stretch.wal, stretch.offset, stretch.next_offset):
                    return
                for one in made:
                    _record(ctx, tx, one)
        except _OvertakenError:
            continue
        for one in made:
            tally["rows"] += one.segment.rows
            tally["duplicates"] += one.segment.duplicates
            tally["dropped"] += one.segment.dropped
            tally["segments"] += one.segment.object is not None
        return
    raise Unavailable(
        f"Other collectors were quicker {_TRIES} times in a row at {stretch.wal}.",
        next_step="Run fewer of them at once.",
    )


def _make(ctx: Context, wal: str, endpoint: str, part: _Part, seen: set[str]) -> _Made:
    import polars as pl  # noqa: PLC0415 - the hub opens this room without collecting

    ids: list[str] = []
    moments: list[int] = []
    fresh = []
    for id_, moment in zip(part.ids(), part.event_times(), strict=True):
        new = id_ not in seen
        fresh.append(new)
        if new:
            seen.add(id_)
            ids.append(id_)
            moments.append(moment)
    content = to_parquet(table_of(part.frames).filter(pl.Series(fresh, dtype=pl.Boolean))) if ids else b""
    times = [_EPOCH + timedelta(microseconds=moment) for moment in moments]
    segment = Segment(
        id=new_id(),
        endpoint=endpoint,
        wal=wal,
        first_offset=part.first_offset,
        next_offset=part.next_offset,
        rows=len(ids),
        duplicates=len(fresh) - len(ids),
        dropped=part.dropped,
        first_event_time=min(times, default=None),
        last_event_time=max(times, default=None),
        object=ctx.repository.objects.put(content) if ids else None,
        size_bytes=len(content),
        collected_at=ctx.now(),
    )
    return _Made(segment, part.project, ids, times)


def _record(ctx: Context, tx: sa.Connection, made: _Made) -> None:
    segment = made.segment
    if made.ids and records.add_predictions(tx, segment, made.ids, made.event_times) != len(made.ids):
        raise _OvertakenError
    records.add_segment(tx, segment)
    ctx.emit(
        "predictions.collected",
        f"endpoints/{segment.endpoint}",
        project=made.project,
        segment=segment.id,
        rows=segment.rows,
        duplicates=segment.duplicates,
        dropped=segment.dropped,
        first_event_time=segment.first_event_time,
        last_event_time=segment.last_event_time,
        object=segment.object,
        wal=segment.wal,
        offsets=[segment.first_offset, segment.next_offset],
    )
