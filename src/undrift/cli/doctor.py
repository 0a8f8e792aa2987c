"""`undrift doctor`: looks at a workspace, however broken, and says what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import Parameter

from undrift.cli.options import HERE, Local, settings_of, workspace_folder
from undrift.cli.output import say, show_json
from undrift.core.errors import UndriftError

if TYPE_CHECKING:
    from undrift.blobs import ByteStore
    from undrift.metastore import SqlDatabase
    from undrift.workspace import Settings

__all__ = ["Finding", "doctor", "examine"]

_PORTS = (7470, 7471)
_BAD_FREE_BYTES = 100_000_000
_FEW_FREE_BYTES = 2_000_000_000
_SAMPLE = 50
_SAMPLE_S = 5.0
_SKEW_S = 5.0
_WRITTEN_IN = 2026


class Finding(msgspec.Struct, frozen=True):
    """What was found out about one thing.

    Attributes:
        about: What was looked at.
        state: ``ok``; ``warn`` when it works but not for long or not fully; ``bad``.
        sentence: What is so.
        next_step: What to do about it.
    """

    about: str
    state: Literal["ok", "warn", "bad"]
    sentence: str
    next_step: str = ""


def doctor(
    *,
    repair: Annotated[bool, Parameter(help="Finish a migration of the database that was interrupted.")] = False,
    where: Local = HERE,
) -> int:
    """Look whether this machine and the workspace are well; changes nothing unless told to."""
    findings = []
    for finding in examine(workspace_folder(where), repair=repair):
        findings.append(finding)
        if not where.as_json:
            say(f"{finding.state:<5} {finding.about:<10} {finding.sentence}")
            if finding.next_step and finding.state != "ok":
                say(f"{'':16} {finding.next_step}")
    bad = sum(finding.state == "bad" for finding in findings)
    if where.as_json:
        show_json({"ok": not bad, "findings": findings})
    elif not bad:
        say("Nothing is broken.")
    return 1 if bad else 0


def examine(folder: Path, *, repair: bool = False) -> Iterator[Finding]:
    """Look at everything, and at each thing also when others are broken.

    Args:
        folder: The workspace.
        repair: Finish a migration of the database that was interrupted.
    """
    yield from _guarded("program", _program)
    yield from _guarded("ports", lambda: _ports(folder))
    settings: list[Settings] = []

    def read_settings() -> Iterator[Finding]:
        settings.append(settings_of(folder))
        yield Finding("workspace", "ok", f"{folder}, made by undrift {settings[0].made_by}.")

    yield from _guarded("workspace", read_settings)
    if not settings:
        return
    yield from _guarded("folder", lambda: _folder(folder))
    yield from _guarded("project", lambda: _project(folder, settings[0]))
    yield from _guarded("database", lambda: _database(folder, settings[0], repair=repair))
    yield from _guarded("store", lambda: _store(folder, settings[0]))


def _guarded(about: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except UndriftError as error:
        yield Finding(about, "bad", error.message, error.next_step)
    except Exception as error:  # noqa: BLE001 - what it looks at is broken, in whatever way
        yield Finding(about, "bad", f"{type(error).__name__}: {error}")


def _program() -> Iterator[Finding]:
    import platform
    import re
    import sqlite3
    from importlib import metadata

    from undrift import __version__

    needed = [one for one in metadata.requires("undrift") or [] if "extra ==" not in one]
    versions: dict[str, str] = {}
    missing = []
    for requirement in needed:
        name = re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0]
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    shown = ", ".join(f"{name} {versions[name]}" for name in ("polars", "onnxruntime", "dbos") if name in versions)
    yield Finding(
        "program",
        "bad" if missing else "ok",
        f"undrift {__version__}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {shown}"
        + (f"; not installed: {', '.join(missing)}." if missing else "."),
        "Run `pip install --force-reinstall undrift`." if missing else "",
    )


def _ports(folder: Path) -> Iterator[Finding]:
    from undrift.processes import check_port, role_holder

    holder = role_holder(folder, "up")
    if holder is not None:
        yield Finding("processes", "ok", f"`undrift up` runs (process {holder}).")
        return
    worker = role_holder(folder, "worker")
    yield Finding(
        "processes", "ok", "`undrift up` does not run" + (f"; a worker does (process {worker})." if worker else ".")
    )
    for port in _PORTS:
        try:
            check_port(port)
        except UndriftError as error:
            yield Finding("port", "warn", error.message, "Free it, or choose others: --port, --serve-port.")


def _folder(folder: Path) -> Iterator[Finding]:
    import os
    import shutil
    import time
    from datetime import UTC, datetime

    probe = folder / f".doctor.{os.getpid()}"
    try:
        probe.write_bytes(b"undrift")
        skew_s = probe.stat().st_mtime - time.time()
        probe.unlink()
    except OSError as error:
        yield Finding("folder", "bad", f"{folder} cannot be written: {error.strerror}.", "Check its permissions.")
    else:
        yield Finding("folder", "ok", "It can be read and written.")
        now = datetime.now(UTC)
        wrong = now.year < _WRITTEN_IN or abs(skew_s) > _SKEW_S
        yield Finding(
            "clock",
            "warn" if wrong else "ok",
            f"It is {now:%Y-%m-%d %H:%M:%S} UTC"
            + (f"; the disk's clock is {skew_s:+.0f} s away." if abs(skew_s) > _SKEW_S else "."),
            "Set the clock (NTP): windows and audit go by it." if wrong else "",
        )
    free = shutil.disk_usage(folder).free
    yield Finding(
        "disk",
        "bad" if free < _BAD_FREE_BYTES else "warn" if free < _FEW_FREE_BYTES else "ok",
        f"{free / 1e9:.1f} GB are free.",
        "Free some space: predictions can no longer be logged once it is full.",
    )


def _project(folder: Path, settings: Settings) -> Iterator[Finding]:
    if not settings.project:
        yield Finding("project", "warn", "None is named: the worker has nothing to run.", "Run `undrift init`.")
    elif not (folder.parent / settings.project).is_file():
        file = folder.parent / settings.project
        yield Finding("project", "bad", f"There is no file {file}.", "Put it there, or name another in workspace.json.")
    else:
        yield Finding("project", "ok", f"{settings.project}.")


def _database(folder: Path, settings: Settings, *, repair: bool) -> Iterator[Finding]:
    from undrift.metastore import migrate, open_database
    from undrift.metastore.migrate import check

    file = folder / "undrift.db"
    if not settings.database and not file.exists():
        yield Finding(
            "database", "bad", f"{file} is gone.", "Restore it from a backup; any command makes an empty one."
        )
        return
    database = open_database(settings.database or f"sqlite:///{file}")
    try:
        if repair:
            migrate(database, repair=True)
        current = check(database)
        yield Finding(
            "database",
            "ok" if current else "warn",
            f"{database.url.render_as_string(hide_password=True)} answers"
            + (", with the schema this undrift needs." if current else ", but its schema is older."),
            "It is brought up to date by whatever is run next: make a backup first.",
        )
        yield from _guarded("database", lambda: _damage(database))
        if current:
            yield from _guarded("log", lambda: _log(folder, settings, database))
    finally:
        database.close()


def _damage(database: SqlDatabase) -> Iterator[Finding]:
    if not database.url.drivername.startswith("sqlite"):
        return
    with database.read() as tx:
        said = tx.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if said != "ok":
        yield Finding("database", "bad", f"It is damaged: {said}.", "Restore it from a backup.")


def _log(folder: Path, settings: Settings, database: SqlDatabase) -> Iterator[Finding]:
    from undrift.blobs import Repository, open_store
    from undrift.events import VerifyLog, verify_log
    from undrift.workspace import Workspace

    workspace = Workspace(folder, settings, database, Repository(open_store("memory://")))
    head = workspace.published_head()
    found = verify_log(
        workspace.context(), VerifyLog() if head is None else VerifyLog(position=head.position, hash=head.hash)
    )
    if found.ok:
        yield Finding("log", "ok", f"It is whole: {found.events} events.")
    else:
        yield Finding(
            "log",
            "bad",
            f"It is broken at position {found.broken_at}: {found.problem}",
            "Somebody changed it. Compare with a backup.",
        )


def _store(folder: Path, settings: Settings) -> Iterator[Finding]:
    from undrift.blobs import open_store
    from undrift.core.ids import new_id

    store = open_store(settings.store or str(folder / "store"))
    probe = f"doctor/{new_id()}"
    store.write(probe, b"undrift")
    kept = b"".join(store.read(probe))
    store.delete(probe)
    if kept != b"undrift":
        yield Finding("store", "bad", f"{store!r} gives back other bytes than were written.", "Look at its disk.")
        return
    yield Finding("store", "ok", f"{store!r} can be read and written.")
    yield from _guarded("objects", lambda: _objects(store))


def _objects(store: ByteStore) -> Iterator[Finding]:
    import random
    import time

    from undrift.blobs import Repository

    objects = Repository(store).objects
    folders = [f"{number:02x}" for number in range(256)]
    random.shuffle(folders)
    looked, bad, until = 0, [], time.monotonic() + _SAMPLE_S
    for place in folders:
        for key, _ in store.list(f"objects/{place}"):
            try:
                objects.get(key.removeprefix("objects/").replace("/", ""))
            except UndriftError as error:
                bad.append(error)
            looked += 1
        if looked >= _SAMPLE or time.monotonic() > until:
            break
    if bad:
        yield Finding("objects", "bad", f"{len(bad)} of {looked} are damaged: {bad[0].message}", bad[0].next_step)
    else:
        yield Finding("objects", "ok", f"{looked} taken at random are what was stored.")
