"""Brings a database to the schema this undrift needs, and refuses one that is half-migrated or newer."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from undrift.core.errors import Unavailable
from undrift.metastore.database import SqlDatabase

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["check", "migrate"]

HEAD = "0002"
"""The newest migration; a test holds it against the files."""

_marker = sa.Table("migration_in_progress", sa.MetaData(), sa.Column("target", sa.String(32), nullable=False))
_LOCK = 7_470_001


def _current(tx: sa.Connection) -> str | None:
    if not sa.inspect(tx).has_table("alembic_version"):
        return None
    found: str | None = tx.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def _interrupted(tx: sa.Connection) -> str | None:
    if not sa.inspect(tx).has_table(_marker.name):
        return None
    return tx.scalar(sa.select(_marker.c.target))


def check(database: SqlDatabase) -> bool:
    """Return whether the database stands at the schema this undrift needs; False when it is empty or older.

    Raises:
        Unavailable: It was made by a newer undrift, or a migration was interrupted.
    """
    with database.read() as tx:
        current = _current(tx)
        target = _interrupted(tx)
    _refuse_newer(database, current)
    if target is not None:
        raise Unavailable(
            f"A migration of {_where(database)} to {target} was interrupted.",
            next_step="Run `undrift doctor --repair` to finish it, or restore the backup you made before upgrading.",
        )
    return current == HEAD


def _where(database: SqlDatabase) -> str:
    return database.url.render_as_string(hide_password=True)


def _refuse_newer(database: SqlDatabase, current: str | None) -> None:
    if current is not None and current > HEAD:
        raise Unavailable(
            f"{_where(database)} was made by a newer undrift (schema {current}; this one knows up to {HEAD}).",
            next_step="Run `pip install --upgrade undrift`; nothing was changed.",
        )


def migrate(database: SqlDatabase, *, repair: bool = False) -> None:
    """Bring the database to the schema this undrift needs; does nothing when it stands there already.

    Two processes that start together do it once. On both engines a migration is one transaction; the mark set before
    and taken off after shows one that stopped in the middle of several.

    Args:
        database: What to migrate.
        repair: Go on with a migration that was interrupted.

    Raises:
        Unavailable: It was made by a newer undrift, or a migration was interrupted and ``repair`` is off.
    """
    with database.read() as tx:
        if _current(tx) == HEAD and _interrupted(tx) is None:
            return
    from alembic import command  # noqa: PLC0415 - only a new or old database needs it; costs 150 ms

    with _alone(database):
        # Only here does a mark mean that a migration stopped: before, it may have been running.
        if not repair and check(database):
            return
        with database.begin() as tx:
            _refuse_newer(database, _current(tx))
            _marker.create(tx, checkfirst=True)
            tx.execute(sa.delete(_marker))
            tx.execute(sa.insert(_marker).values(target=HEAD))
        with database.begin() as tx:
            config = _config()
            config.attributes["connection"] = tx
            command.upgrade(config, "head")
            _marker.drop(tx, checkfirst=True)


@contextmanager
def _alone(database: SqlDatabase) -> Iterator[None]:
    """Wait until no other process migrates this database, and keep others waiting."""
    if database.url.get_backend_name() == "postgresql":
        with database.read() as tx:
            tx.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield
        return
    # The folder is locked, not the file: closing the file once more would drop the locks that SQLite has on it.
    folder = os.open(Path(database.url.database or "").parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
