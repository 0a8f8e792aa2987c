"""Brings a database to the schema this undrift needs, and refuses one that is half-migrated or newer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from undrift.core.errors import Unavailable
from undrift.metastore.database import SqlDatabase

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["check", "migrate"]

HEAD = "0001"
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
    where = database.url.render_as_string(hide_password=True)
    with database.read() as tx:
        current = _current(tx)
        target = _interrupted(tx)
    if target is not None:
        raise Unavailable(
            f"A migration of {where} to {target} was interrupted.",
            next_step="Run `undrift doctor --repair` to finish it, or restore the backup you made before upgrading.",
        )
    if current is not None and current > HEAD:
        raise Unavailable(
            f"{where} was made by a newer undrift (schema {current}; this one knows up to {HEAD}).",
            next_step="Run `pip install --upgrade undrift`; nothing was changed.",
        )
    return current == HEAD


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
    if not repair and check(database):
        return
    from alembic import command  # noqa: PLC0415 - only a new or old database needs it; costs 150 ms

    with database.begin() as tx:
        if tx.dialect.name == "postgresql":
            tx.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        if _current(tx) == HEAD:
            # Another process did it while this one waited; a mark left behind says nothing any more.
            _marker.drop(tx, checkfirst=True)
            return
        _marker.create(tx, checkfirst=True)
        tx.execute(sa.delete(_marker))
        tx.execute(sa.insert(_marker).values(target=HEAD))
    with database.begin() as tx:
        if tx.dialect.name == "postgresql":
            tx.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config = _config()
        config.attributes["connection"] = tx
        command.upgrade(config, "head")
        _marker.drop(tx, checkfirst=True)


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
