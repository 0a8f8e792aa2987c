"""Governance in SQL: holds, what is not needed, and what the columns of all rooms name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from undrift.governance.model import Hold, Share, Subject
from undrift.governance.tables import given_up, holds, unneeded_objects
from undrift.metastore import insert_or_ignore
from undrift.metastore.references import Doomed, Holding, Reference

__all__ = [
    "Named",
    "add_hold",
    "add_unneeded",
    "counted",
    "find_hold",
    "forget_unneeded",
    "gave_up",
    "give_up",
    "held_refs",
    "holders",
    "is_digest",
    "largest",
    "list_holds",
    "named",
    "needed_again",
    "physical_bytes",
    "release_hold",
    "shares",
    "unneeded_since",
    "unneeded_sum",
    "walk_unneeded",
]

_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_AT_ONCE = 500
_STREAM = 2000


def is_digest(text: str) -> bool:
    """Say whether a text is a digest."""
    return _DIGEST.fullmatch(text) is not None


class Named(NamedTuple):
    """A digest in a column."""

    digest: str
    kind: Any
    holder: str


def add_hold(tx: sa.Connection, hold: Hold, ref: str) -> None:
    """Add a hold."""
    columns = {name: getattr(hold, name) for name in holds.c.keys() if name != "ref"}  # noqa: SIM118 - no mapping
    tx.execute(sa.insert(holds).values(**columns, ref=ref))


def list_holds(
    tx: sa.Connection, *, project: str = "", subject: str = "", released: bool = False, limit: int = 1000
) -> list[Hold]:
    """Return holds, the newest first."""
    query = sa.select(*(column for column in holds.c if column.name != "ref"))
    if project:
        query = query.where(holds.c.project == project)
    if subject:
        query = query.where(holds.c.subject == subject)
    if not released:
        query = query.where(holds.c.released_at.is_(None))
    return [Hold(*row) for row in tx.execute(query.order_by(holds.c.at.desc(), holds.c.id).limit(limit))]


def find_hold(tx: sa.Connection, id_: str) -> Hold | None:
    """Return a hold, also one that was released; None when there is none."""
    query = sa.select(*(column for column in holds.c if column.name != "ref")).where(holds.c.id == id_)
    row = tx.execute(query).first()
    return None if row is None else Hold(*row)


def release_hold(tx: sa.Connection, id_: str, at: datetime, actor: str, reason: str) -> None:
    """End a hold."""
    tx.execute(
        sa.update(holds).where(holds.c.id == id_).values(released_at=at, released_by=actor, release_reason=reason)
    )


def held_refs(tx: sa.Connection) -> dict[str, list[str]]:
    """Return what is held now, by its kind."""
    found: dict[str, list[str]] = {}
    for row in tx.execute(sa.select(holds.c.subject, holds.c.ref).where(holds.c.released_at.is_(None))):
        found.setdefault(row.subject.partition("/")[0], []).append(row.ref)
    return found


def _holder(reference: Reference, row: Any) -> str:
    return f"{reference.what} {'/'.join(str(one) for one in row[1:])}"


def named(tx: sa.Connection, reference: Reference, doomed: Doomed | None, *, dead: bool = False) -> Iterator[Named]:
    """Give what a column names, as a stream.

    Args:
        tx: The transaction.
        reference: The column.
        doomed: What does not count any more; None counts everything.
        dead: Give what does not count, instead of what does.
    """
    column = sa.type_coerce(reference.column, sa.Text) if reference.kind == "text" else reference.column
    query = sa.select(column, *reference.holder).where(reference.column.is_not(None))
    if reference.dead is not None and doomed is not None:
        rule = reference.dead(doomed)
        query = query.where(rule if dead else ~rule)
    elif dead:
        return
    for row in tx.execution_options(yield_per=_STREAM).execute(query):
        for digest in _DIGEST.findall(row[0]):
            yield Named(digest, "any" if reference.kind == "text" else reference.kind, _holder(reference, row))


def needed_again(
    tx: sa.Connection, references: Sequence[Reference], doomed: Doomed, digests: Sequence[str]
) -> set[str]:
    """Return those of these digests that a column names."""
    found: set[str] = set()
    for reference in references:
        if reference.kind == "text":
            continue
        for at in range(0, len(digests), _AT_ONCE):
            query = sa.select(reference.column).where(reference.column.in_(digests[at : at + _AT_ONCE]))
            if reference.dead is not None:
                query = query.where(~reference.dead(doomed))
            found.update(tx.scalars(query))
    return found


def holders(
    tx: sa.Connection, references: Sequence[Reference], doomed: Doomed, digests: Sequence[str]
) -> dict[str, str]:
    """Return who names these digests, one holder for each; those that only a tree names are left out."""
    found: dict[str, str] = {}
    for reference in references:
        if reference.kind == "text":
            continue
        for at in range(0, len(digests), _AT_ONCE):
            query = sa.select(reference.column, *reference.holder)
            query = query.where(reference.column.in_(digests[at : at + _AT_ONCE]))
            if reference.dead is not None:
                query = query.where(~reference.dead(doomed))
            for row in tx.execute(query.limit(_STREAM)):
                found.setdefault(row[0], _holder(reference, row))
    return found


def unneeded_since(tx: sa.Connection, digests: Sequence[str]) -> dict[str, datetime]:
    """Return since when these objects are known not to be needed; those of which nothing is noted are left out."""
    found: dict[str, datetime] = {}
    for at in range(0, len(digests), _AT_ONCE):
        some = digests[at : at + _AT_ONCE]
        query = sa.select(unneeded_objects.c.digest, unneeded_objects.c.since)
        found.update((row.digest, row.since) for row in tx.execute(query.where(unneeded_objects.c.digest.in_(some))))
    return found


def add_unneeded(tx: sa.Connection, since: datetime, objects: Mapping[str, int]) -> None:
    """Note that objects are not needed; what was noted before stays.

    Args:
        tx: The transaction.
        since: Since when.
        objects: Their sizes in bytes.
    """
    rows = [{"digest": digest, "since": since, "size_bytes": size} for digest, size in sorted(objects.items())]
    if rows:
        tx.execute(insert_or_ignore(tx, unneeded_objects), rows)


def forget_unneeded(tx: sa.Connection, digests: Sequence[str]) -> None:
    """Forget what was noted of these objects."""
    for at in range(0, len(digests), _AT_ONCE):
        tx.execute(sa.delete(unneeded_objects).where(unneeded_objects.c.digest.in_(digests[at : at + _AT_ONCE])))


def walk_unneeded(tx: sa.Connection, after: str, limit: int) -> list[str]:
    """Return digests of which it is noted that they are not needed, in order."""
    query = sa.select(unneeded_objects.c.digest).where(unneeded_objects.c.digest > after)
    return list(tx.scalars(query.order_by(unneeded_objects.c.digest).limit(limit)))


def unneeded_sum(tx: sa.Connection) -> tuple[int, int]:
    """Return how many objects are noted not to be needed, and how many bytes they are."""
    row = tx.execute(sa.select(sa.func.count(), sa.func.sum(unneeded_objects.c.size_bytes))).one()
    return row[0], int(row[1] or 0)


def give_up(tx: sa.Connection, holder: str, at: datetime) -> bool:
    """Note that something gave up its bytes although its row stays; returns whether it had not yet."""
    return bool(tx.execute(insert_or_ignore(tx, given_up), [{"holder": holder, "at": at}]).rowcount)


def gave_up(tx: sa.Connection, holders_: Sequence[str]) -> list[str]:
    """Return those of these that gave up their bytes already."""
    found: list[str] = []
    for at in range(0, len(holders_), _AT_ONCE):
        query = sa.select(given_up.c.holder).where(given_up.c.holder.in_(holders_[at : at + _AT_ONCE]))
        found.extend(tx.scalars(query))
    return found


def _objects(holding: Holding, project: str | None) -> Any:
    owners = holding.owner if isinstance(holding.owner, tuple) else (holding.owner,)
    columns = (
        sa.func.coalesce(holding.project, "").label("project"),
        sa.func.coalesce(*(sa.func.nullif(one, "") for one in owners), "").label("owner"),
        *(column.label(f"name{place}") for place, column in enumerate(holding.name)),
        holding.digest.label("digest"),
        holding.size.label("size"),
    )
    query = sa.select(*columns).select_from(holding.rows).where(holding.where)
    return (query if project is None else query.where(holding.project == project)).subquery()


def shares(tx: sa.Connection, holding: Holding, project: str | None, freed_by: str) -> list[Share]:
    """Return how much a kind of bytes takes, by project and owner."""
    rows = _objects(holding, project)
    names = [rows.c[f"name{place}"] for place in range(len(holding.name))]
    logical = sa.select(
        rows.c.project, rows.c.owner, sa.func.count(sa.distinct(names[0])), sa.func.sum(rows.c.size)
    ).group_by(rows.c.project, rows.c.owner)
    once = sa.select(rows.c.project, rows.c.owner, rows.c.digest, sa.func.max(rows.c.size).label("size"))
    apart = once.group_by(rows.c.project, rows.c.owner, rows.c.digest).subquery()
    physical = sa.select(apart.c.project, apart.c.owner, sa.func.sum(apart.c.size)).group_by(
        apart.c.project, apart.c.owner
    )
    taken = {(row[0], row[1]): int(row[2] or 0) for row in tx.execute(physical)}
    return [
        Share(holding.what, row[0], row[1], row[2], int(row[3] or 0), taken.get((row[0], row[1]), 0), freed_by)
        for row in tx.execute(logical)
    ]


def physical_bytes(tx: sa.Connection, holdings: Sequence[Holding], project: str | None) -> int:
    """Return what all these kinds take together when equal bytes are counted once."""
    every = [_objects(holding, project) for holding in holdings]
    if not every:
        return 0
    pairs = sa.union_all(*(sa.select(one.c.digest, one.c.size) for one in every)).subquery()
    once = sa.select(sa.func.max(pairs.c.size).label("size")).group_by(pairs.c.digest).subquery()
    return int(tx.scalar(sa.select(sa.func.sum(once.c.size))) or 0)


def counted(tx: sa.Connection, holdings: Sequence[Holding], project: str | None, digests: Sequence[str]) -> set[str]:
    """Return those of these objects that one of these kinds names, and so counts."""
    found: set[str] = set()
    for holding in holdings:
        rows = _objects(holding, project)
        for at in range(0, len(digests), _AT_ONCE):
            query = sa.select(rows.c.digest).where(rows.c.digest.in_(digests[at : at + _AT_ONCE]))
            found.update(tx.scalars(query))
    return found


def largest(tx: sa.Connection, holding: Holding, project: str | None, limit: int) -> list[Subject]:
    """Return the things that take most of a kind."""
    rows = _objects(holding, project)
    names = [rows.c[f"name{place}"] for place in range(len(holding.name))]
    total = sa.func.sum(rows.c.size).label("total")
    query = sa.select(rows.c.project, *names, total).group_by(rows.c.project, *names)
    return [
        Subject(holding.what, row[0], "/".join(str(one) for one in row[1:-1]), int(row[-1] or 0))
        for row in tx.execute(query.order_by(sa.desc("total")).limit(limit))
    ]
