"""Sends what a run's folder holds: in order, in batches, again until it is acknowledged.

Everything sent may be sent twice: a run is begun once by its id, the other side keeps the same point, parameter and
link once, and a run that ended stays as it ended. So a line is forgotten only after the answer.

What the other side refuses for good (a parameter that has another value already) is not sent for ever: the batch is
split until the thing refused stands alone, that is written to a file beside the run's folder, counted in the tag
``undrift.refused``, and the rest goes on. When nothing of the run is taken, because it was deleted or this is another
hub, all of it stays where it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from undrift.core.errors import Conflict, Invalid, NotFound, Unavailable, UndriftError
from undrift.recorder.files import put_file, put_folder
from undrift.recorder.records import (
    Begun,
    Ended,
    Link,
    Points,
    Record,
    Said,
    Series,
    UploadFile,
    UploadFolder,
    decode,
)
from undrift.recorder.spool import Spool

if TYPE_CHECKING:
    from undrift.client import Client

__all__ = ["Delivery", "is_lasting", "said_by"]

_log = logging.getLogger("undrift.recorder")

_MOST_POINTS = 10_000
_READ_BYTES = 256 << 10
_REFUSED_BYTES = 1 << 20


def is_lasting(error: Exception) -> bool:
    """Say whether trying again cannot help: the request is wrong, and not the moment."""
    return isinstance(error, Invalid | NotFound | Conflict)


class Delivery:
    """Sends the journals of one run; `records` and `files` may be sent by a thread each, with a client each.

    Args:
        spool: The run's folder.

    Attributes:
        sent_points: How many points were acknowledged.
        sent_files: How many files were.
        refused: How many things were refused for good.
        missing: Artifacts whose file was gone before it was sent.
        changed: Artifacts whose file was written to between being named and being sent.
        begun: Whether the run is known on the other side; files are sent only then.
        ended: Whether the end of the run was acknowledged.
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.sent_points = 0
        self.sent_files = 0
        self.refused = 0
        self.missing: list[str] = []
        self.changed: list[str] = []
        self.begun = False
        self.ended = (spool.folder / "ended").exists()
        self._run_id = spool.about.run_id

    def send_records(self, client: Client) -> bool:
        """Send the oldest lines of the journal, and say whether there were any.

        Raises:
            UndriftError: They could not be sent now; they stay where they are.
        """
        batch = self.spool.records.take(_READ_BYTES)
        if not batch.payloads:
            # Of lines that were all passed over.
            self.spool.records.done(batch)
            return False
        points: dict[str, Series] = {}
        said = _Words()
        for record in self._decoded(batch.payloads):
            if isinstance(record, Points):
                for name, series in record.series.items():
                    if name in points:
                        points[name].add(series)
                    else:
                        points[name] = series
            elif isinstance(record, Said):
                said.add(record)
            else:
                self._log_run(client, points, said)
                points, said = {}, _Words()
                self._begin_or_end(client, record)
        self._log_run(client, points, said)
        self.spool.records.done(batch)
        return True

    def send_file(self, client: Client) -> bool:
        """Send the oldest file that waits, and say whether there was one.

        Raises:
            UndriftError: It could not be sent now; it stays where it is.
        """
        if not self.begun:
            return False
        batch = self.spool.files.take(1)
        if not batch.payloads:
            self.spool.files.done(batch)
            return False
        for record in self._decoded(batch.payloads):
            if isinstance(record, UploadFile):
                self._upload(client, record)
            elif isinstance(record, UploadFolder):
                self._upload_folder(client, record)
        self.spool.files.done(batch)
        return True

    def send_all(self, client: Client, *, killed_at: datetime | None = None) -> None:
        """Send everything there is, and remove the folder; for one that nobody writes to any more.

        Args:
            client: Where to.
            killed_at: When its process was seen last; the run is then ended as killed when nobody has ended it.

        Raises:
            UndriftError: Not all could be sent now; what could not stays where it is.
        """
        while self.send_records(client):
            pass
        self.begun = True
        if killed_at is not None and not self.ended and self.spool.about.owner:
            self.end_as_killed(client, killed_at)
        while self.send_file(client):
            pass
        self.say_refused(client)
        self.spool.close(remove=True)

    def end_as_killed(self, client: Client, at: datetime) -> None:
        """Say that the run's process went without a word."""
        error = "The process ended without saying how, and was found gone later."
        self._begin_or_end(client, Ended("killed", error, at))

    def _decoded(self, payloads: list[bytes]) -> Iterator[Record]:
        for payload in payloads:
            try:
                yield from decode([payload])
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self._refuse(msgspec.Raw(payload), f"This line cannot be read: {error}")

    def _begin_or_end(self, client: Client, record: Record) -> None:
        from undrift import tracking  # noqa: PLC0415 - a second of imports, for the thread that sends

        if isinstance(record, Begun):
            fields = _fields(record)
            goes_on = fields.pop("goes_on")
            try:
                run = client.call(tracking.start_run, tracking.StartRun(**fields))
                if goes_on and not self.ended and run.status not in {"running", "scheduled"}:
                    client.call(tracking.update_run, tracking.UpdateRun(self._run_id, status="running"))
            except (Invalid, NotFound, Conflict) as error:
                raise self._kept(error) from None
            self.begun = True
        elif isinstance(record, Ended):
            try:
                client.call(tracking.end_run, tracking.EndRun(run_id=self._run_id, **_fields(record)))
            except NotFound as error:
                raise self._kept(error) from None
            except (Invalid, Conflict) as error:
                self._refuse(record, error)
            self.ended = True
            with suppress(OSError):
                (self.spool.folder / "ended").touch()

    def _kept(self, error: UndriftError) -> Unavailable:
        # Nothing of the run can be taken, not this line alone: all of it waits, until the run is there (again).
        return Unavailable(error.message, next_step=error.next_step)

    def _log_run(self, client: Client, points: dict[str, Series], said: _Words) -> None:
        atoms: list[_Atom] = [
            *_pieces(points),
            *((("parameters"), name, value) for name, value in said.parameters.items()),
            *((("tags"), name, value) for name, value in said.tags.items()),
            *((("links"), link.name, link) for link in said.links),
        ]
        start = size = 0
        for end, (kind, _, value) in enumerate(atoms):
            more = len(value) if kind == "points" else 1
            if size + more > _MOST_POINTS:
                self._send(client, atoms[start:end])
                start, size = end, 0
            size += more
        self._send(client, atoms[start:])

    def _send(self, client: Client, atoms: list[_Atom]) -> None:
        """Send things in one call; when that is refused for good, in halves, so that one bad thing harms no other."""
        if not atoms:
            return
        try:
            self._call(client, atoms)
        except (NotFound, Conflict) as error:
            raise self._kept(error) from None
        except Invalid as error:
            kind, name, value = atoms[0]
            if len(atoms) > 1:
                middle = len(atoms) // 2
                self._send(client, atoms[:middle])
                self._send(client, atoms[middle:])
            elif kind == "points" and len(value) > 1:
                for half in _halves(value):
                    self._send(client, [(kind, name, half)])
            else:
                self._refuse({"kind": kind, "name": name, "value": value}, error, len(value) if kind == "points" else 1)
        else:
            self.sent_points += sum(len(value) for kind, _, value in atoms if kind == "points")

    def _call(self, client: Client, atoms: list[_Atom]) -> None:
        from undrift import tracking  # noqa: PLC0415 - a second of imports, for the thread that sends

        series = tuple(
            tracking.MetricSeries(name, columns.steps, columns.times_ms, columns.values)
            for kind, name, columns in atoms
            if kind == "points"
        )
        request = tracking.LogRun(
            run_id=self._run_id,
            series=series,
            parameters={name: value for kind, name, value in atoms if kind == "parameters"},
            tags={name: value for kind, name, value in atoms if kind == "tags"},
            links=tuple(tracking.RunLink(**_fields(value)) for kind, _, value in atoms if kind == "links"),
        )
        client.call(tracking.log_run, request)

    def _upload(self, client: Client, record: UploadFile) -> None:
        source = self.spool.folder / record.source
        try:
            found = source.stat()
        except OSError:
            self.missing.append(record.path)
            self._say(client, "undrift.missing_artifacts", self.missing)
            _log.warning("The file of artifact %r was gone before it was sent: %s", record.path, source)
            return
        kept = not Path(record.source).is_absolute()
        if (found.st_size, found.st_mtime_ns) != (record.size_bytes, record.mtime_ns) and (
            not kept or found.st_nlink > 1
        ):
            self.changed.append(record.path)
            self._say(client, "undrift.changed_artifacts", self.changed)
            _log.warning("The file of artifact %r changed before it was sent; it goes as it is now.", record.path)
        try:
            put_file(client, self._run_id, record.path, source)
        except NotFound as error:
            raise self._kept(error) from None
        except (Invalid, Conflict, OSError) as error:
            if isinstance(error, Conflict) and not self._is_active(client):
                raise self._kept(error) from None
            self._refuse(record, error)
            return
        self.sent_files += 1
        if kept:
            self.spool.let_go(record.source)

    def _upload_folder(self, client: Client, record: UploadFolder) -> None:
        source = self.spool.folder / record.source
        try:
            digest = put_folder(client, self._run_id, record.path, source)
        except NotFound as error:
            raise self._kept(error) from None
        except (Invalid, Conflict, OSError) as error:
            if isinstance(error, Conflict) and not self._is_active(client):
                raise self._kept(error) from None
            self._refuse(record, error)
            return
        self.sent_files += 1
        self._send(client, [("links", record.name, Link("input", record.kind, record.name, digest))])

    def _is_active(self, client: Client) -> bool:
        from undrift import tracking  # noqa: PLC0415 - a second of imports, for the thread that sends

        return client.call(tracking.find_run, tracking.FindRun(run_id=self._run_id)).state == "active"

    def _refuse(self, what: Any, error: Exception | str, count: int = 1) -> None:
        if not self.refused:
            _log.warning("Something was refused for good, and is kept in %s: %s", self._refusals(), error)
        self.refused += count
        with suppress(OSError):
            path = self._refusals()
            if not path.exists() or path.stat().st_size < _REFUSED_BYTES:
                line = msgspec.json.encode({"what": what, "why": str(error), "at": datetime.now(UTC)})
                with path.open("ab") as file:
                    file.write(line + b"\n")

    def _refusals(self) -> Path:
        # Beside the folder of the run, which goes when all was sent.
        return self.spool.folder.with_name(f"{self.spool.folder.name}.refused.jsonl")

    def say_refused(self, client: Client) -> None:
        """Write into the run how much was refused or came back damaged from the disk; nothing when nothing was."""
        if self.refused:
            self._say(client, "undrift.refused", str(self.refused))
        if damaged := self.spool.records.damaged + self.spool.files.damaged:
            _log.warning("%d lines in %s were damaged, and are lost", damaged, self.spool.folder)
            self._say(client, "undrift.damaged_lines", str(damaged))

    def _say(self, client: Client, name: str, value: str | list[str]) -> None:
        text = value if isinstance(value, str) else ", ".join(value[:50]) + (" …" if len(value) > 50 else "")
        with suppress(Invalid, NotFound, Conflict):
            self._call(client, [("tags", name, text)])


_Atom = tuple[str, str, Any]


class _Words:
    """What a run said besides points, gathered in order."""

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}
        self.tags: dict[str, str] = {}
        self.links: list[Link] = []

    def add(self, said: Said) -> None:
        for name, value in said.parameters.items():
            self.parameters.setdefault(name, value)
        self.tags |= said.tags
        self.links += said.links


def _fields(record: Any) -> dict[str, Any]:
    return msgspec.structs.asdict(record)


def _pieces(points: dict[str, Series]) -> Iterable[_Atom]:
    for name, series in points.items():
        for start in range(0, len(series), _MOST_POINTS):
            end = start + _MOST_POINTS
            yield (
                "points",
                name,
                series
                if len(series) <= _MOST_POINTS
                else Series(series.steps[start:end], series.times_ms[start:end], series.values[start:end]),
            )


def _halves(series: Series) -> tuple[Series, Series]:
    middle = len(series) // 2
    return (
        Series(series.steps[:middle], series.times_ms[:middle], series.values[:middle]),
        Series(series.steps[middle:], series.times_ms[middle:], series.values[middle:]),
    )


def said_by(error: Exception) -> str:
    """Return what an error says, in one line."""
    text = error.message if isinstance(error, UndriftError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
