"""A run that is being recorded: what training code talks to.

`LiveRun.log` puts a few numbers into memory and returns. A thread appends them to a file on this machine ten times a
second; another one sends what is in the file. Neither a dead hub nor a full disk reaches the code that trains: what
finds no room is dropped and counted, and the counts are in the run.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - see the last lines
import errno
import logging
import os
import random
import signal
import sys
import threading
import time as clock
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Literal, Self

import msgspec

from undrift.core.errors import Invalid
from undrift.core.ids import check_id, check_name, new_id
from undrift.recorder.delivery import Delivery
from undrift.recorder.lanes import WIDE, Account, Lane, Logged, Writer, delivered, left_behind
from undrift.recorder.observer import Observer
from undrift.recorder.place import Place, can_send, find_place
from undrift.recorder.records import (
    Begun,
    Ended,
    Link,
    Record,
    Said,
    UploadFile,
    UploadFolder,
    encode,
    usable_name,
    word,
)
from undrift.recorder.spool import About, Spool, runs_folder

__all__ = ["LiveRun", "run"]

_log = logging.getLogger("undrift.recorder")

_ROOM = 200_000
_WIDE_ROOM = 1_000_000
_WORDS_ROOM = 10_000
_EXIT_WAIT_S = 10.0
_DEAD_WAIT_S = 2.0
_KNOWN_DEAD_S = 15.0
_MOST_STUCK = 16
_ERROR_CHARACTERS = 4_000
_TAG_CHARACTERS = 5_000
_PARAMETER_BYTES = 6_000
_WHOLE = 2**63

_open_runs: list[LiveRun] = []
_handles_sigterm = False
# Targets that did not answer when a run ended: the next one that ends there does not wait as long.
_unanswered: set[str] = set()


def run(
    experiment: str,
    *,
    name: str = "",
    project: str | None = None,
    target: str | Path | None = None,
    kind: str = "training",
    id: str | None = None,  # noqa: A002 - the name it has everywhere
    parent_id: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    capture: bool = True,
    system_metrics: bool = True,
    offline: bool | None = None,
) -> LiveRun:
    """Begin a run and return at once; use it in a ``with`` statement, or call `LiveRun.end`.

    Args:
        experiment: Under which name comparable runs gather; made when it is not there.
        name: A name for people.
        project: Whose it is; ``$UNDRIFT_PROJECT``, else ``default``, when left out.
        target: A hub's address or a workspace's folder. When left out: ``$UNDRIFT_HUB``, ``$UNDRIFT_WORKSPACE``, the
            nearest ``.undrift`` here or above, else ``~/.undrift``, which is made.
        kind: ``training``, ``evaluation``, ``batch`` …
        id: Goes on with this run, or begins one that has this id.
        parent_id: The run it is part of; `LiveRun.child` says it for you.
        parameters: See `LiveRun.parameters`.
        tags: See `LiveRun.tag`.
        capture: Keep code, environment and hardware with the run.
        system_metrics: Measure processor, memory, disk, network and accelerators every 10 seconds, and count cost.
        offline: Only write the file; ``$UNDRIFT_OFFLINE`` when left out. `undrift runs sync` sends it later.

    Raises:
        Invalid: A name, the id or the target cannot be right. Nothing else is raised, then or later.
    """
    if not experiment.strip() or len(experiment) > 250:
        raise Invalid("An experiment has a name of 1 to 250 characters.", next_step='Such as `ud.run("flights")`.')
    project = check_name(project or os.environ.get("UNDRIFT_PROJECT") or "default", "project")
    begun = Begun(
        id=new_id() if id is None else check_id(id),
        project=project,
        experiment=_text(experiment),
        name=_text(name),
        kind=_text(kind),
        started_at=datetime.now(UTC),
        parent_id=None if parent_id is None else check_id(parent_id),
        goes_on=id is not None,
    )
    began = LiveRun(begun, find_place(target, offline=offline), capture=capture, system_metrics=system_metrics)
    if parameters:
        began.parameters(parameters)
    if tags:
        began.tag(tags)
    return began


class LiveRun:
    """A run that is being recorded; made by `undrift.run`. Any thread may use it; none of its methods raises.

    Attributes:
        id: Its id.
        project: Whose it is.
        experiment: Where it belongs.
        name: Its name for people.
        target: Where it is sent to.
        folder: Where its file lies until all was sent.
    """

    def __init__(
        self, begun: Begun, place: Place, *, capture: bool, system_metrics: bool, parent: LiveRun | None = None
    ) -> None:
        self.id = begun.id
        self.project = begun.project
        self.experiment = begun.experiment
        self.name = begun.name
        self._begun = begun
        self._place = place
        self._account = Account()
        self._step = -1
        self._parameters: dict[str, bytes] = {}
        self._ending = threading.RLock()
        self._status = "running"
        self._owner = os.getpid()
        self._files: Lane | None = None
        self._parent: LiveRun | None = parent
        self._unsent: list[LiveRun] = []
        self._left: list[Path] = []
        self._open()
        self._put(begun)
        self._observer: Observer | None = None
        if capture or system_metrics:
            self._observer = Observer(self, capture=capture, system_metrics=system_metrics)
            self._observer.start()
        _open_runs.append(self)
        _listen()
        if parent is None:
            _notice(f"run {self.id} ({self.project}/{self.experiment}) goes to {self.where}")

    @property
    def target(self) -> str:
        """Where it is sent to: a hub's address, or a workspace's folder."""
        return self._place.target

    @property
    def folder(self) -> Path:
        """Where its file lies until all was sent."""
        return self._spool.folder

    @property
    def where(self) -> str:
        """Where it goes and why there, in words."""
        if self._place.offline:
            return f"{self.folder} only (offline); send it with `undrift runs sync`"
        return f"{self.target} ({self._place.reason})"

    @property
    def status(self) -> str:
        """``running``, or how it ended."""
        return self._status

    @property
    def losses(self) -> dict[str, int]:
        """What was dropped or refused so far, by kind; empty when nothing was."""
        return self._account.counts()

    def log(
        self,
        metrics: Mapping[str, float] | None = None,
        /,
        *,
        step: int | None = None,
        time: datetime | float | None = None,
        **values: float,
    ) -> None:
        """Log values of metrics; costs microseconds.

        A value on an accelerator (a tensor) is fetched, which waits for what computes it: log it every so many steps.
        A value that is no number is left out, counted and warned of once.

        Args:
            metrics: Values by name, for names that are no Python words.
            step: Which step of the run; one more than the last one when left out, from 0.
            time: When; now when left out. A number is seconds since 1970.
            **values: Values by name.
        """
        try:
            if metrics is not None:
                values = {**metrics, **values}
            for value in values.values():
                if type(value) is not float:
                    values = self._floats(values)
                    break
            if step is None:
                step = self._step + 1
            elif type(step) is not int:
                step = int(step)
            if not -_WHOLE <= step < _WHOLE:
                raise ValueError("a step has at most 64 bits")  # noqa: TRY301 - counted below, like the rest
            self._step = step
            ms = clock.time_ns() // 1_000_000 if time is None else _ms(time)
            queue = self._queue
            if len(queue) < self._room and len(values) <= WIDE:
                queue.append(Logged(ms, step, values))
            elif values:
                self._log_slowly(ms, step, values)
        except Exception as error:  # noqa: BLE001 - logging must not stop training
            self._account.add("bad_values", 1, f"Values could not be logged: {error}.")

    def parameters(self, parameters: Mapping[str, Any] | None = None, /, **values: Any) -> None:
        """Say what the run was told to do; a parameter keeps its first value.

        Args:
            parameters: Values by name: numbers, text, lists, dictionaries; of anything else, its text.
            **values: The same.
        """
        kept: dict[str, Any] = {}
        for name, value in self._pairs(parameters, values):
            try:
                coded = msgspec.json.encode(_plain(value), enc_hook=_plain)
            except Exception:  # noqa: BLE001 - a text says something at least
                coded = msgspec.json.encode(_text(value))
            if len(coded) > _PARAMETER_BYTES:
                self._account.add(
                    "bad_values", 1, f"Parameter {name!r} has over 6,000 characters; make it an artifact."
                )
            elif self._parameters.setdefault(name, coded) != coded:
                self._account.add("bad_values", 1, f"Parameter {name!r} was something else already, and stays so.")
            else:
                kept[name] = msgspec.Raw(coded)
        if kept:
            self._put(Said(parameters=kept))

    def tag(self, tags: Mapping[str, Any] | None = None, /, **words: Any) -> None:
        """Set words about the run, in place of those of the same name."""
        kept = {name: _text(value)[:_TAG_CHARACTERS] for name, value in self._pairs(tags, words)}
        if kept:
            self._put(Said(tags=kept))

    def reads(
        self,
        name: str,
        *,
        version: Any,
        kind: str = "dataset_version",
        context: str = "",
        details: dict[str, Any] | None = None,
    ) -> None:
        """Say what the run reads, so that it can be found from there.

        Args:
            name: What the run calls it, such as the dataset's name.
            version: Its content address or another id that never changes; or an object that has one as ``id``.
            kind: What it is.
            context: What for, such as ``training``.
            details: More about it, JSON-able.
        """
        self._link("input", kind, name, version, context, details)

    def makes(
        self,
        name: str,
        *,
        version: Any,
        kind: str = "object",
        context: str = "",
        details: dict[str, Any] | None = None,
    ) -> None:
        """Say what the run made; see `reads`."""
        self._link("output", kind, name, version, context, details)

    def artifact(self, path: str | Path, name: str | None = None, *, content: str | bytes | None = None) -> None:
        """Keep a file with the run.

        A file of at most 8 MiB is copied before this returns; of a bigger one its bytes are read when it is sent, so do
        not write into it in place before the run has ended.

        Args:
            path: The file; or, with ``content``, only its name.
            name: The artifact's path; the file's name when left out.
            content: What is in it, instead of reading a file.
        """
        if self._room <= 0 and not self._reopen():
            return
        try:
            if content is not None:
                self._put_content(name or str(path), content.encode() if isinstance(content, str) else content)
            elif Path(path).is_dir():
                self.artifacts(path, name or Path(path).name)
            else:
                self._put_file(Path(path), name or Path(path).name)
        except Exception as error:  # noqa: BLE001 - logging must not stop training
            self._account.add("missing_artifacts", 1, f"Artifact {_text(path)[:200]!r} cannot be kept: {error}.")

    def artifacts(self, folder: str | Path, name: str = "") -> None:
        """Keep the files of a folder, and below, with the run; see `artifact`.

        Args:
            folder: The folder.
            name: Below which path they come to lie; at the top when left out.
        """
        try:
            base = Path(folder)
            if not base.is_dir():
                raise NotADirectoryError(20, "There is no such folder")  # noqa: TRY301 - counted below, like the rest
            for path in sorted(base.rglob("*")):
                if path.is_file():
                    self.artifact(path, "/".join([*filter(None, [name.strip("/")]), *path.relative_to(base).parts]))
        except Exception as error:  # noqa: BLE001 - logging must not stop training
            self._account.add("missing_artifacts", 1, f"Artifacts in {_text(folder)[:200]!r} cannot be kept: {error}.")

    def seed(self, seed: int) -> None:
        """Seed what draws random numbers in this process, and record it as parameter ``seed``.

        That is Python's ``random``; and NumPy's and PyTorch's global generators when they are imported. A generator of
        your own (``numpy.random.default_rng``) takes the seed from you.
        """
        try:
            random.seed(seed)
            if (numpy := sys.modules.get("numpy")) is not None:
                numpy.random.seed(seed % 2**32)
            if (torch := sys.modules.get("torch")) is not None:
                torch.manual_seed(seed)
        except Exception as error:  # noqa: BLE001 - logging must not stop training
            self._account.add("bad_values", 1, f"{_text(seed)[:80]} cannot seed everything: {error}.")
        self.parameters(seed=seed)

    def child(self, name: str = "", *, kind: str | None = None) -> LiveRun:
        """Begin a run that is part of this one, such as a fold.

        Code, environment and system metrics stay with this run; those of the child are the same. A child that ends does
        not wait until it is sent; this run does when it ends.
        """
        begun = msgspec.structs.replace(
            self._begun,
            id=new_id(),
            name=_text(name),
            kind=_text(kind or self._begun.kind),
            started_at=datetime.now(UTC),
            parent_id=self.id,
            goes_on=False,
        )
        return LiveRun(begun, self._place, capture=False, system_metrics=False, parent=self)

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until all that was logged is in the file and on disk; False when that takes too long."""
        if self._room <= 0:
            # A forked child that has said nothing has nothing to wait for, and must not ask for locks of its parent.
            return self._status == "running" or delivered(self._delivery)
        marker = threading.Event()
        self._queue.append(marker)
        self._writer.wake.set()
        return marker.wait(timeout_s) and not self._spool.lacks()

    def end(
        self,
        status: Literal["finished", "failed", "killed"] = "finished",
        error: str = "",
        *,
        wait_s: float | None = None,
    ) -> None:
        """End the run, and wait until all of it is sent, but not long; ending it again does nothing.

        What could not be sent in time stays in the file. It is sent while the process lives, and afterwards with
        ``undrift runs sync``.

        Args:
            status: How it ended.
            error: Why it failed.
            wait_s: At most so many seconds; ``$UNDRIFT_EXIT_WAIT``, else 10, when left out. A child waits none.
        """
        with self._ending:
            if self._status != "running":
                return
            self._status = status
        try:
            patience = _wait(wait_s) if wait_s is not None or self._parent is None else 0.0
            self._end(Ended(status, _text(error)[:_ERROR_CHARACTERS], datetime.now(UTC)), patience)
        except Exception:  # noqa: BLE001 - logging must not stop training
            _log.exception("A run could not be ended as it should")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(*_ending_of(error))

    def __repr__(self) -> str:
        return f"<undrift run {self.id} ({self.project}/{self.experiment}), {self._status}, to {self.where}>"

    # What the observer and the threads use.

    def _observe(self, values: dict[str, float], step: int) -> None:
        if len(self._queue) < self._room:
            self._queue.append(Logged(clock.time_ns() // 1_000_000, step, values))

    def _open(self) -> None:
        begun = self._begun
        owner = self._owner == os.getpid()
        target = "" if self._place.create and self._place.offline else self._place.target
        about = About(begun.id, begun.project, begun.experiment, target, owner, os.getpid(), datetime.now(UTC))
        self._spool = Spool.begin(runs_folder(), about)
        self._delivery = Delivery(self._spool)
        self._records: Lane | None = None
        self._files = None
        self._lanes = threading.RLock()
        self._sent_all = False
        self._writer = Writer(self._spool, self._account, self._on_written)
        self._queue = self._writer.queue
        self._writer.start()
        self._sends = not self._place.offline and can_send()
        if self._sends:
            self._records = Lane(
                self._place, "undrift-sender", self._send_records, self._is_written, self._on_sent, self._on_left
            )
            self._records.start()
        self._room = _ROOM

    def _put(self, record: Record) -> None:
        if self._room <= 0 and not self._reopen():
            return
        if len(self._queue) < _ROOM + _WORDS_ROOM:
            self._queue.append(record)
        else:
            self._account.add("dropped_words", 1, "The writer does not keep up with what the run says.")

    def _put_content(self, name: str, content: bytes) -> None:
        temporary = self.folder / f"content-{os.urandom(4).hex()}"
        try:
            temporary.write_bytes(content)
            self._put_file(temporary, name, ours=True)
        finally:
            temporary.unlink(missing_ok=True)

    def _put_file(self, path: Path, name: str, *, ours: bool = False) -> None:
        if self._room <= 0 and not self._reopen():
            return
        found = path.stat()
        kept = self._spool.keep(path.absolute(), found.st_size, move=ours)
        if kept is None and ours:
            # There is no other place where its bytes could be read later.
            raise OSError(errno.ENOSPC, "too much waits to be sent, or the disk takes no more")
        self._put_upload(UploadFile(name, kept or str(path.absolute()), found.st_size, found.st_mtime_ns))

    def _put_upload(self, record: UploadFile | UploadFolder) -> None:
        if not self._spool.files.append(encode(record), must=True):
            self._account.add("dropped_artifacts", 1, f"There is no room to keep artifact {record.path!r}.")
            return
        with self._lanes:
            if self._files is None and self._sends:
                # After the run: the hub has to know it first.
                self._files = Lane(
                    self._place,
                    "undrift-uploader",
                    self._delivery.send_file,
                    self._is_written,
                    self._on_sent,
                    self._on_left,
                )
                self._files.start()
            elif self._files is not None:
                self._files.wake.set()

    def _link(
        self, role: Literal["input", "output"], kind: str, name: str, version: Any, context: str, details: Any
    ) -> None:
        try:
            ref = getattr(version, "id", version)
            if not isinstance(ref, str) or not ref:
                raise TypeError(f"{type(version).__name__} names no version")  # noqa: TRY301 - counted below
            if details is not None:
                details = msgspec.json.decode(msgspec.json.encode(details, enc_hook=_plain))
            self._put(Said(links=(Link(role, _text(kind), _text(name), _text(ref), _text(context), details),)))
        except Exception as error:  # noqa: BLE001 - logging must not stop training
            self._account.add("bad_values", 1, f"What the run reads or makes cannot be said: {error}.")

    def _pairs(self, given: Any, words: dict[str, Any]) -> list[tuple[str, Any]]:
        try:
            pairs = {**(given or {}), **words}
        except TypeError:
            self._account.add("bad_values", 1, f"{type(given).__name__} is no mapping of names to values.")
            return list(words.items())
        good: list[tuple[str, Any]] = []
        for name, value in pairs.items():
            try:
                good.append((usable_name(name), value))
            except Exception:  # noqa: BLE001 - whatever stands where a name should
                self._account.add("bad_values", 1, f"{_text(name)[:80]!r} cannot name a parameter or a tag.")
                continue
            if good[-1][0] != name:
                self._account.add("renamed", 1, f"{name[:80]!r} is kept as {good[-1][0]!r}: it has signs no name has.")
        return good

    def _floats(self, values: Mapping[str, Any]) -> dict[str, float]:
        good: dict[str, float] = {}
        for name, value in values.items():
            try:
                if isinstance(value, (str, bytes)):
                    raise TypeError("a text is no number")  # noqa: TRY301 - counted below, like the rest
                good[name] = float(value)
            except Exception as error:  # noqa: BLE001 - what a foreign number raises is not ours to know
                self._account.add("bad_values", 1, f"Metric {_text(name)[:80]!r} is not a number: {error}.")
        return good

    def _log_slowly(self, ms: int, step: int, values: dict[str, float]) -> None:
        if self._room <= 0 and not self._reopen():
            return
        if len(values) > WIDE and len(self._queue) < self._room:
            if self._writer.wide_points + len(values) <= _WIDE_ROOM:
                self._writer.wide_points += len(values)
                self._queue.append(Logged(ms, step, values))
                return
        elif len(self._queue) < self._room:
            self._queue.append(Logged(ms, step, values))
            return
        self._writer.wake.set()
        self._account.add("dropped_points", len(values), "More is logged than can be written: points are dropped.")

    def _reopen(self) -> bool:
        """Go on in a forked child, with a file of its own; False when the run has ended."""
        if self._status != "running":
            self._account.add("after_end", 1, f"Run {self.id} has ended ({self._status}): nothing more is logged.")
            return False
        with self._ending:
            if self._room <= 0:
                self._open()
                # Nobody knows whether the parent's has arrived before this child's words do.
                self._queue.append(msgspec.structs.replace(self._begun, goes_on=False))
                _listen()
                if (pools := sys.modules.get("multiprocessing.util")) is not None:
                    # Its children end without what `atexit` would do.
                    pools.Finalize(self, self._leave, exitpriority=100)
        return True

    def _leave(self) -> None:
        if self._status == "running":
            self._status = "left"
            self._finish(_wait(None))

    def _become_child(self) -> None:
        self._room = 0
        self._spool.leave()
        self._observer = None
        self._account = Account()
        self._ending = threading.RLock()
        # Until something is logged here there are no threads, and nothing to write.
        self._writer.queue.clear()

    def _send_records(self, client: Any) -> bool:
        known = self._delivery.begun
        sent = self._delivery.send_records(client)
        if self._delivery.begun and not known and self._files is not None:
            self._files.wake.set()
        return sent

    def _on_written(self) -> None:
        if self._records is not None:
            self._records.wake.set()

    def _is_written(self) -> bool:
        return self._writer.finished.is_set() and delivered(self._delivery)

    def _on_sent(self, client: Any) -> None:
        """Remove the run's folder: all was sent; the last of the lanes does it."""
        with self._lanes:
            if self._sent_all:
                return
            self._sent_all = True
        try:
            self._delivery.say_refused(client)
        except BaseException:
            self._sent_all = False
            raise
        self._spool.close(remove=True)
        if self._parent is not None:
            with suppress(ValueError):
                self._parent._unsent.remove(self)  # noqa: SLF001 - of this class
        if os.getpid() == self._owner:
            self._send_of_children(client)
        for lane in self._senders:
            lane.wake.set()

    def _on_left(self) -> None:
        """Leave what waits to the run that this one is part of; the last of the lanes does it."""
        with self._lanes:
            if self._parent is None or not all(lane.left.is_set() for lane in self._senders):
                return
            self._spool.close()
            self._parent._left += [self.folder, *self._left]  # noqa: SLF001 - of this class
            with suppress(ValueError):
                self._parent._unsent.remove(self)  # noqa: SLF001 - of this class

    @property
    def _senders(self) -> list[Lane]:
        return [lane for lane in (self._records, self._files) if lane is not None]

    def _spare_threads(self) -> None:
        """Have few of the ended runs in this one wait for a hub that does not answer: each holds threads and files."""
        stuck = [one for one in list(self._unsent) if any(lane.is_dead(0.0) for lane in one._senders)]  # noqa: SLF001
        for one in stuck[_MOST_STUCK:]:
            for lane in one._senders:  # noqa: SLF001 - of this class
                lane.leave()

    def _send_of_children(self, client: Any) -> None:
        """Send what children could not; what cannot be sent now stays for `undrift runs sync`."""
        for path in (*sorted(self.folder.parent.glob(f"{self.id}.*")), *self._left):
            try:
                if (spool := Spool.open(path)) is not None:
                    try:
                        Delivery(spool).send_all(client)
                    finally:
                        spool.close()
            except Exception:  # noqa: BLE001 - this run is sent; the others do not hold up its end
                _log.warning("What a child process said of run %s is left in %s.", self.id, path, exc_info=True)

    def _end(self, ended: Ended, wait_s: float) -> None:
        until = clock.monotonic() + wait_s
        if self._observer is not None:
            self._observer.stop(wait_s / 2)
        if os.getpid() == self._owner:
            self._put(ended)
        self._finish(until - clock.monotonic())
        with suppress(ValueError):
            _open_runs.remove(self)
        if not _open_runs:
            _listen_no_more()

    def _finish(self, wait_s: float) -> None:
        until = clock.monotonic() + wait_s
        self._room = 0
        self._writer.stop()
        # The file is what counts: a little time for it there always is.
        self._writer.finished.wait(max(0.5, wait_s))
        if not self._sends:
            self._spool.close()
            if self._place.offline and self._parent is None:
                _notice(f"run {self.id} is kept in {self.folder}; send it with `undrift runs sync`")
        elif wait_s <= 0 and self._parent is not None:
            self._parent._unsent.append(self)  # noqa: SLF001 - of this class
            self._parent._spare_threads()  # noqa: SLF001 - of this class
        else:
            self._wait_until_sent(until)
        if counts := self.losses:
            said = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in sorted(counts.items()))
            _notice(f"run {self.id} is not complete: {said}")

    def _wait_until_sent(self, until: float) -> None:
        waiting = [self, *self._unsent]
        lanes = [lane for one in waiting for lane in one._senders]  # noqa: SLF001 - of this class
        for lane in lanes:
            lane.hurry()
        if self.target in _unanswered or any(lane.is_dead(_KNOWN_DEAD_S) for lane in lanes):
            # It has not answered for long: the last attempt is made at once, and more would only keep people waiting.
            until = min(until, clock.monotonic() + _DEAD_WAIT_S)
        for lane in lanes:
            lane.gone.wait(max(0.0, until - clock.monotonic()))
            lane.relax()
        if all(lane.gone.is_set() for lane in lanes):
            _unanswered.discard(self.target)
            return
        if any(lane.is_dead(0.0) for lane in lanes):
            _unanswered.add(self.target)
        trouble = next((lane.trouble for lane in lanes if lane.trouble), "it takes longer")
        left = [one.folder for one in waiting if not one._sent_all]  # noqa: SLF001 - of this class
        left += [folder for folder in self._left if folder.exists()]
        size = sum(map(left_behind, left))
        if lacks := self._spool.lacks():
            trouble += f"; not all of them reached the disk, and those are lost with the process: {lacks}"
        others = f" and {len(left) - 1} runs in it" if len(left) > 1 else ""
        _notice(
            f"of run {self.id}{others} {size:,} bytes were not sent to {self.target} yet ({trouble}); they are in "
            f"{self.folder if len(left) == 1 else self.folder.parent}. Should the process end before: "
            f"`undrift runs sync{f' {self.folder}' if len(left) == 1 else ''}`"
        )


def _ms(time: datetime | float) -> int:
    ms = int((time.timestamp() if isinstance(time, datetime) else float(time)) * 1000)
    if not 0 <= ms < 253_402_300_800_000:
        raise ValueError("a time lies between 1970 and the year 9999")
    return ms


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return word(value)
    if isinstance(value, (str, int, bool, list, tuple, dict)) or value is None:
        return value
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        return _plain(value.item())
    if hasattr(value, "tolist"):
        return value.tolist()
    return _text(value)


def _text(value: Any) -> str:
    try:
        # A name of a file that is no UTF-8 has signs that no line of a journal can hold.
        return str(value).encode(errors="replace").decode()
    except Exception:  # noqa: BLE001 - it has no text; its kind has
        return f"<{type(value).__name__}>"


def _wait(wait_s: float | None) -> float:
    if wait_s is not None:
        return max(0.0, wait_s)
    try:
        return max(0.0, float(os.environ.get("UNDRIFT_EXIT_WAIT", _EXIT_WAIT_S)))
    except ValueError:
        return _EXIT_WAIT_S


def _ending_of(error: BaseException | None) -> tuple[Literal["finished", "failed", "killed"], str]:
    if error is None or isinstance(error, GeneratorExit):
        return "finished", ""
    if isinstance(error, KeyboardInterrupt):
        return "killed", "Interrupted from the keyboard."
    if isinstance(error, SystemExit):
        if error.code in (None, 0):
            return "finished", ""
        return "failed", f"The process ended with {_text(error.code)[:200]}."
    return "failed", f"{type(error).__name__}: {_text(error)}"


def _notice(text: str) -> None:
    if os.environ.get("UNDRIFT_QUIET", "") in {"", "0"}:
        with suppress(Exception):
            print(f"undrift: {text}", file=sys.stderr, flush=True)  # noqa: T201 - for the person who started it


def _listen() -> None:
    """End runs when SIGTERM comes, where nobody else listens to it."""
    global _handles_sigterm  # noqa: PLW0603 - a process has one handler
    if _handles_sigterm or threading.current_thread() is not threading.main_thread():
        return
    with suppress(ValueError, OSError):
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _terminated)
            _handles_sigterm = True


def _listen_no_more() -> None:
    """Leave SIGTERM as it was found: a handler of Python's is called only between two steps of the interpreter."""
    global _handles_sigterm  # noqa: PLW0603 - a process has one handler
    if not _handles_sigterm or threading.current_thread() is not threading.main_thread():
        return
    with suppress(ValueError, OSError):
        if signal.getsignal(signal.SIGTERM) is _terminated:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _handles_sigterm = False


def _terminated(number: int, _frame: FrameType | None) -> None:
    # As if nobody had listened, so that whoever sent the signal sees what it expects.
    signal.signal(number, signal.SIG_DFL)
    _end_all("killed", "Terminated by a signal (SIGTERM).")
    os.kill(os.getpid(), number)


def _end_all(status: Literal["finished", "failed", "killed"], error: str) -> None:
    until = clock.monotonic() + _wait(None)
    for one in reversed(list(_open_runs)):
        if one._owner == os.getpid():  # noqa: SLF001 - of this file
            one.end(status, error, wait_s=max(0.5, until - clock.monotonic()))
        elif one._room > 0:  # noqa: SLF001 - the same
            one._leave()  # noqa: SLF001 - the same


def _at_exit() -> None:
    # A script that ends with an exception leaves it here; in a notebook it is that of any cell.
    error = None if hasattr(sys, "ps1") or "ipykernel" in sys.modules else getattr(sys, "last_value", None)
    _end_all(*_ending_of(error))
    if isinstance(error, KeyboardInterrupt):
        # The interpreter ends as the signal would have ended it, unless text was executed since, as imports in the
        # background do: text that is interrupted, too, has it remember.
        with suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102 - as said


def _forked() -> None:
    for one in _open_runs:
        one._become_child()  # noqa: SLF001 - of this file
    # A child that says nothing is ended by a signal as if there were no run.
    _listen_no_more()


# Before the interpreter refuses new threads and work for pools, which the in-process transport needs; those that other
# modules registered are called after this one, so the pools' own has to be there by now.
getattr(threading, "_register_atexit", atexit.register)(_at_exit)
os.register_at_fork(after_in_child=_forked)
