"""The registry in SQL."""

from __future__ import annotations

from datetime import datetime

import msgspec
import sqlalchemy as sa

from undrift.metastore import insert_or_ignore, to_struct
from undrift.registry.model import AliasMove, Model, ModelVersion
from undrift.registry.tables import alias_moves, models, versions

__all__ = [
    "add_alias_move",
    "add_model",
    "add_version",
    "find_alias",
    "find_model",
    "find_version",
    "list_aliases",
    "list_models",
    "list_moves",
    "list_versions",
    "newest_number",
    "next_number",
    "set_state",
]


def _version(row: sa.RowMapping) -> ModelVersion:
    return to_struct(row, ModelVersion)


def add_model(tx: sa.Connection, model: Model) -> None:
    """Add a model unless there is one of that name."""
    tx.execute(insert_or_ignore(tx, models).values(**msgspec.structs.asdict(model)))


def find_model(tx: sa.Connection, project: str, name: str) -> Model | None:
    """Return the model of that name."""
    row = tx.execute(sa.select(models).where(models.c.project == project, models.c.name == name)).mappings().first()
    return None if row is None else Model(**row)


def list_models(tx: sa.Connection, project: str | None) -> list[Model]:
    """Return all models, by name."""
    query = sa.select(models).order_by(models.c.project, models.c.name)
    if project is not None:
        query = query.where(models.c.project == project)
    return [Model(**row) for row in tx.execute(query).mappings()]


def next_number(tx: sa.Connection, project: str, model: str) -> int:
    """Return the number the next version gets: dense, from 1."""
    if tx.dialect.name == "postgresql":
        # Two hubs that register at once must wait for each other; the row of the model is what they share.
        tx.execute(sa.select(models.c.id).where(models.c.project == project, models.c.name == model).with_for_update())
    return newest_number(tx, project, model) + 1


def newest_number(tx: sa.Connection, project: str, model: str) -> int:
    """Return the number of the newest version; 0 when there is none."""
    newest = sa.select(sa.func.max(versions.c.number)).where(versions.c.project == project, versions.c.model == model)
    return tx.scalar(newest) or 0


def add_version(tx: sa.Connection, version: ModelVersion) -> None:
    """Add a version."""
    tx.execute(sa.insert(versions).values(**msgspec.structs.asdict(version)))


def find_version(
    tx: sa.Connection, project: str, model: str, *, number: int | None = None, run_id: str | None = None
) -> ModelVersion | None:
    """Return a version by its number or by the run that made it."""
    query = sa.select(versions).where(versions.c.project == project, versions.c.model == model)
    query = query.where(versions.c.run_id == run_id) if run_id is not None else query.where(versions.c.number == number)
    row = tx.execute(query).mappings().first()
    return None if row is None else _version(row)


def list_versions(tx: sa.Connection, project: str, model: str, *, limit: int) -> list[ModelVersion]:
    """Return versions, newest first."""
    query = (
        sa.select(versions)
        .where(versions.c.project == project, versions.c.model == model)
        .order_by(versions.c.number.desc())
        .limit(limit)
    )
    return [_version(row) for row in tx.execute(query).mappings()]


def set_state(tx: sa.Connection, version_id: str, state: str, reason: str) -> None:
    """Change the state of a version."""
    tx.execute(sa.update(versions).where(versions.c.id == version_id).values(state=state, state_reason=reason))


def add_alias_move(tx: sa.Connection, move: AliasMove) -> None:
    """Append a move to the history of an alias."""
    newest = sa.select(sa.func.max(alias_moves.c.sequence)).where(
        alias_moves.c.project == move.project, alias_moves.c.model == move.model, alias_moves.c.alias == move.alias
    )
    sequence = (tx.scalar(newest) or 0) + 1
    tx.execute(sa.insert(alias_moves).values(**msgspec.structs.asdict(move), sequence=sequence))


def list_moves(
    tx: sa.Connection,
    project: str,
    model: str,
    *,
    alias: str | None = None,
    as_of: datetime | None = None,
    limit: int = 1000,
) -> list[AliasMove]:
    """Return moves, newest first."""
    columns = [column for column in alias_moves.c if column.name != "sequence"]
    query = (
        sa.select(*columns)
        .where(alias_moves.c.project == project, alias_moves.c.model == model)
        .order_by(alias_moves.c.at.desc(), alias_moves.c.sequence.desc())
        .limit(limit)
    )
    if alias is not None:
        query = query.where(alias_moves.c.alias == alias)
    if as_of is not None:
        query = query.where(alias_moves.c.at <= as_of)
    return [AliasMove(**row) for row in tx.execute(query).mappings()]


def find_alias(
    tx: sa.Connection, project: str, model: str, alias: str, *, as_of: datetime | None = None
) -> AliasMove | None:
    """Return the move that put an alias where it stood at a moment."""
    moves = list_moves(tx, project, model, alias=alias, as_of=as_of, limit=1)
    return moves[0] if moves else None


def list_aliases(tx: sa.Connection, project: str, model: str) -> dict[str, int]:
    """Return where every alias of a model points now."""
    place = sa.func.row_number().over(
        partition_by=alias_moves.c.alias, order_by=(alias_moves.c.at.desc(), alias_moves.c.sequence.desc())
    )
    moves = (
        sa.select(alias_moves.c.alias, alias_moves.c.number, place.label("place"))
        .where(alias_moves.c.project == project, alias_moves.c.model == model)
        .subquery()
    )
    query = sa.select(moves.c.alias, moves.c.number).where(moves.c.place == 1).order_by(moves.c.alias)
    return {row.alias: row.number for row in tx.execute(query)}
