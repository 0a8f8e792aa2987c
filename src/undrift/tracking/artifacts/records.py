"""Artifacts in SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from undrift.metastore import Prepared, UtcTime, bytewise
from undrift.tracking.artifacts.model import Artifact, ArtifactEntry, PutArtifact, RootOwner
from undrift.tracking.artifacts.tables import artifacts
from undrift.tracking.tables import logged_models, runs

__all__ = ["add", "below", "clash", "find", "find_many", "level", "owner", "remove"]

_STRETCH = 200
_FEW = 8
_ROWS_AT_ONCE = 400  # parameters of a statement are limited


def _owner_in(table: sa.Table) -> Prepared:
    return Prepared(
        sa.select(table.c.project, table.c.experiment_id, table.c.state).where(table.c.id == sa.bindparam("id"))
    )


_OWNER = {True: _owner_in(logged_models), False: _owner_in(runs)}


def owner(tx: sa.Connection, root: str) -> RootOwner | None:
    """Return whose a root is; None when there is no such run or logged model."""
    row: Any = _OWNER[root.startswith("m-")].one(tx, {"id": root}).first()
    return None if row is None else RootOwner(*row)


def _put(insert: Any) -> Any:
    statement = insert(artifacts)
    changed = {name: statement.excluded[name] for name in ("digest", "size_bytes", "created_at")}
    return statement.on_conflict_do_update(index_elements=["root", "path"], set_=changed)


_PUT = Prepared(
    {"sqlite": _put(sqlite.insert), "postgresql": _put(postgresql.insert)},
    *(column.name for column in artifacts.c),
)


def add(tx: sa.Connection, root: str, entries: Iterable[PutArtifact], at: datetime) -> None:
    """Put files, in place of those of the same path."""
    created_at = UtcTime().process_bind_param(at, tx.dialect)
    rows = [
        {
            "root": root,
            "path": entry.path,
            "digest": entry.digest,
            "size_bytes": entry.size_bytes,
            "created_at": created_at,
        }
        for entry in entries
    ]
    if rows:
        _PUT.many(tx, rows)


def remove(tx: sa.Connection, root: str, path: str) -> int:
    """Remove a file, or a folder with all below it (everything, when the path is empty); returns how many files."""
    return tx.execute(sa.delete(artifacts).where(artifacts.c.root == root, _at_or_below(path))).rowcount


def find(tx: sa.Connection, root: str, path: str) -> Artifact | None:
    """Return the file at a path."""
    row = tx.execute(sa.select(artifacts).where(artifacts.c.root == root, artifacts.c.path == path)).first()
    return None if row is None else Artifact(*row)


def find_many(tx: sa.Connection, root: str, paths: Sequence[str]) -> dict[str, Artifact]:
    """Return the files at these paths, by path; those that are not there are left out."""
    found = {}
    for at in range(0, len(paths), _ROWS_AT_ONCE):
        some = paths[at : at + _ROWS_AT_ONCE]
        for row in tx.execute(sa.select(artifacts).where(artifacts.c.root == root, artifacts.c.path.in_(some))):
            found[row.path] = Artifact(*row)
    return found


_BELOW = Prepared(
    sa.select(sa.func.min(artifacts.c.path)).where(
        artifacts.c.root == sa.bindparam("root"),
        artifacts.c.path > sa.bindparam("first"),
        artifacts.c.path < sa.bindparam("after"),
    )
)


def clash(tx: sa.Connection, root: str, paths: Sequence[str]) -> tuple[str, str] | None:
    """Return a path and a file that cannot both be, for one would be a folder of the other; None when all can."""
    above = sorted({folder for path in paths for folder in _folders(path)})
    for at in range(0, len(above), _ROWS_AT_ONCE):
        query = sa.select(artifacts.c.path).where(
            artifacts.c.root == root, artifacts.c.path.in_(above[at : at + _ROWS_AT_ONCE])
        )
        if (taken := tx.scalar(query.limit(1))) is not None:
            return next(path for path in paths if path.startswith(f"{taken}/")), taken
    if len(paths) <= _FEW:
        for path in paths:
            below = _BELOW.one(tx, {"root": root, "first": f"{path}/", "after": f"{path}0"}).scalar()
            if below is not None:
                return path, below
        return None
    for at in range(0, len(paths), _ROWS_AT_ONCE):
        rows = [(path,) for path in paths[at : at + _ROWS_AT_ONCE]]
        asked = sa.values(sa.column("path", sa.String), name="asked").data(rows).cte("asked")
        one = bytewise(tx, asked.c.path)
        query = (
            sa.select(asked.c.path, artifacts.c.path)
            .join_from(asked, artifacts, (artifacts.c.path > one.concat("/")) & (artifacts.c.path < one.concat("0")))
            .where(artifacts.c.root == root)
            .limit(1)
        )
        if (row := tx.execute(query).first()) is not None:
            return row[0], row[1]
    return None


def below(tx: sa.Connection, root: str, path: str, after: str, limit: int) -> list[Artifact]:
    """Return files at a path and below it, in the order of their paths."""
    query = sa.select(artifacts).where(artifacts.c.root == root, _at_or_below(path)).order_by(artifacts.c.path)
    if after:
        query = query.where(artifacts.c.path > after)
    return [Artifact(*row) for row in tx.execute(query.limit(limit))]


def level(tx: sa.Connection, root: str, path: str, after: str, limit: int) -> list[ArtifactEntry]:
    """Return the files and folders directly in a folder, in the order of their paths.

    What lies in a folder is jumped over, not read: the cost follows what is shown.

    Args:
        tx: The transaction.
        root: The root.
        path: The folder; empty for the top.
        after: The path of the last entry shown before; one that is a folder ends in ``/``.
        limit: How many at most.
    """
    prefix = f"{path}/" if path else ""
    found: list[ArtifactEntry] = []
    # "0" comes right after "/": nothing below a folder is greater than the folder's name and "0".
    at = artifacts.c.path >= f"{after[:-1]}0" if after.endswith("/") else artifacts.c.path > (after or prefix)
    ask = min(limit, _STRETCH)
    while len(found) < limit:
        query = sa.select(artifacts).where(artifacts.c.root == root, at)
        if prefix:
            query = query.where(artifacts.c.path < f"{path}0")
        rows = tx.execute(query.order_by(artifacts.c.path).limit(ask)).all()
        folder = ""
        for row in rows:
            if folder and row.path.startswith(folder):
                continue
            name, slash, _ = row.path[len(prefix) :].partition("/")
            folder = f"{prefix}{name}/" if slash else ""
            if slash:
                found.append(ArtifactEntry(prefix + name, "folder"))
            else:
                found.append(ArtifactEntry(row.path, "file", row.size_bytes, row.digest))
            if len(found) == limit:
                return found
        if len(rows) < ask:
            return found
        at = artifacts.c.path >= f"{folder[:-1]}0" if folder else artifacts.c.path > rows[-1].path
    return found


def _at_or_below(path: str) -> Any:
    if not path:
        return sa.true()
    # One stretch of the index, with a few other names in between ("a-b" comes after "a" and before "a/").
    stretch = (artifacts.c.path >= path) & (artifacts.c.path < f"{path}0")
    return stretch & ((artifacts.c.path == path) | (artifacts.c.path > f"{path}/"))


def _folders(path: str) -> Iterable[str]:
    at = path.find("/")
    while at != -1:
        yield path[:at]
        at = path.find("/", at + 1)
