"""Runs in SQL, with their parameters, tags and links."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from undrift.metastore import Prepared, insert_or_ignore
from undrift.tracking.model import LoggedDataset, Run, RunLink
from undrift.tracking.records.metrics import latest_metrics
from undrift.tracking.tables import experiments, logged_datasets, run_links, run_parameters, run_tags, runs

__all__ = [
    "Head",
    "add_datasets",
    "add_links",
    "add_parameters",
    "add_run",
    "add_tags",
    "change_run",
    "end_run",
    "find_runs",
    "heads",
    "known_parameters",
    "linked_to",
    "list_datasets",
    "list_runs",
    "remove_tag",
    "text_of",
    "uses_of_datasets",
]

_ROW = tuple(column.name for column in runs.c if column.name != "deleted_at")
_HEAD = 64
_AT_ONCE = 10_000  # SQLite takes 32,766 values a statement


def upsert(table: sa.Table, *columns: str) -> dict[str, Any]:
    """Return for each engine an insert that sets these columns of a row that is there already."""

    def of(insert: Any) -> Any:
        statement = insert(table)
        return statement.on_conflict_do_update(
            index_elements=list(table.primary_key.columns), set_={name: statement.excluded[name] for name in columns}
        )

    return {"sqlite": of(sqlite.insert), "postgresql": of(postgresql.insert)}


class Head(NamedTuple):
    """What a write has to know of its run."""

    id: str
    project: str
    experiment_id: int
    state: str


def text_of(value: Any) -> str:
    """Return the text of a parameter: a string as it is, everything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value, order="sorted").decode()


def add_run(tx: sa.Connection, run: Run) -> None:
    """Add a run, without what it has logged."""
    tx.execute(sa.insert(runs).values({name: getattr(run, name) for name in _ROW}))


def _heads() -> Prepared:
    query = sa.select(runs.c.id, runs.c.project, runs.c.experiment_id, runs.c.state)
    listed = sa.func.json_each(sa.bindparam("ids", type_=sa.Text)).table_valued("value")
    array = sa.bindparam("ids", type_=postgresql.ARRAY(sa.String))
    # All ids as one value: the statement is the same however many there are.
    return Prepared(
        {
            "sqlite": query.where(runs.c.id.in_(sa.select(listed.c.value))),
            "postgresql": query.where(runs.c.id == sa.any_(array)),
        }
    )


_HEADS = _heads()


def heads(tx: sa.Connection, ids: Sequence[str]) -> dict[str, Head]:
    """Return what a write has to know of these runs, by id."""
    given = list(ids) if tx.dialect.name == "postgresql" else msgspec.json.encode(ids).decode()
    rows: list[Any] = list(_HEADS.one(tx, {"ids": given}))
    return {row[0]: Head(*row) for row in rows}


def change_run(tx: sa.Connection, id_: str, **values: Any) -> None:
    """Change columns of a run."""
    tx.execute(sa.update(runs).where(runs.c.id == id_).values(**values))


def end_run(tx: sa.Connection, id_: str, **values: Any) -> bool:
    """Change columns of a run that has not ended; returns whether it had not."""
    mine = (runs.c.id == id_) & runs.c.status.in_(("running", "scheduled"))
    changed = sa.update(runs).where(mine).values(**values).execution_options(preserve_rowcount=True)
    return bool(tx.execute(changed).rowcount)


def known_parameters(tx: sa.Connection, keys: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], str]:
    """Return the texts of those of these parameters that are there, by run and name."""
    names = sorted({name for some in keys.values() for name in some})
    run_ids = [run_id for run_id, some in keys.items() if some]
    query = sa.select(run_parameters.c.run_id, run_parameters.c.name, run_parameters.c.value)
    found: dict[tuple[str, str], str] = {}
    for begin in range(0, len(names), _AT_ONCE):
        some = query.where(
            run_parameters.c.run_id.in_(run_ids), run_parameters.c.name.in_(names[begin : begin + _AT_ONCE])
        )
        found.update({(row.run_id, row.name): row.value for row in tx.execute(some)})
    return found


def add_parameters(tx: sa.Connection, given: Iterable[tuple[Head, Mapping[str, Any]]]) -> None:
    """Add parameters; one that is there stays."""
    rows = [
        {
            "run_id": run.id,
            "name": name,
            "experiment_id": run.experiment_id,
            "value": (text := text_of(value)),
            "is_json": not isinstance(value, str),
            "head": text[:_HEAD],
        }
        for run, parameters in given
        for name, value in parameters.items()
    ]
    if rows:
        tx.execute(insert_or_ignore(tx, run_parameters), rows)


def add_tags(tx: sa.Connection, given: Iterable[tuple[Head, Mapping[str, str]]]) -> None:
    """Set tags, in place of those of the same name."""
    rows = {
        (run.id, name): {
            "run_id": run.id,
            "name": name,
            "experiment_id": run.experiment_id,
            "value": value,
            "head": value[:_HEAD],
        }
        for run, tags in given
        for name, value in tags.items()
    }
    if rows:
        tx.execute(_SET_TAG[tx.dialect.name], list(rows.values()))


_SET_TAG = upsert(run_tags, "value", "head")


def remove_tag(tx: sa.Connection, run_id: str, name: str) -> bool:
    """Remove a tag; returns whether it was there."""
    mine = (run_tags.c.run_id == run_id) & (run_tags.c.name == name)
    return bool(tx.execute(sa.delete(run_tags).where(mine)).rowcount)


def linked_to(tx: sa.Connection, run_ids: Sequence[str]) -> set[tuple[str, str, str, str, str]]:
    """Return the keys of all links of these runs."""
    columns = (run_links.c.run_id, run_links.c.role, run_links.c.kind, run_links.c.name, run_links.c.ref)
    return {tuple(row) for row in tx.execute(sa.select(*columns).where(run_links.c.run_id.in_(run_ids)))}


def add_links(tx: sa.Connection, run_id: str, links: Iterable[RunLink]) -> None:
    """Add what a run read or made; a link that is there stays as it is."""
    rows = [{"run_id": run_id, **msgspec.structs.asdict(link)} for link in links]
    if rows:
        tx.execute(insert_or_ignore(tx, run_links), rows)


def add_datasets(tx: sa.Connection, experiment_id: int, datasets: Iterable[LoggedDataset]) -> None:
    """Keep descriptions of datasets; the first one of each name and digest stays."""
    rows = [{"experiment_id": experiment_id, **msgspec.structs.asdict(dataset)} for dataset in datasets]
    if rows:
        tx.execute(insert_or_ignore(tx, logged_datasets), rows)


def uses_of_datasets(
    tx: sa.Connection, run_ids: Sequence[str], *, with_profile: bool
) -> list[tuple[str, LoggedDataset, dict[str, str]]]:
    """Return the datasets that runs read as clients described them, with the words about each use."""
    found: list[tuple[str, LoggedDataset, dict[str, str]]] = []
    of, link = logged_datasets.c, run_links.c
    columns: list[Any] = [link.run_id, link.details, of.name, of.digest, of.source_type, of.source, of.schema]
    columns.append(of.profile if with_profile else sa.literal("").label("profile"))
    same = sa.and_(
        of.experiment_id == runs.c.experiment_id, of.name == link.name, of.digest == link.ref, link.kind == "dataset"
    )
    query = (
        sa.select(*columns)
        .select_from(run_links.join(runs, runs.c.id == link.run_id).join(logged_datasets, same))
        .order_by(link.run_id, of.name, of.digest)
    )
    for begin in range(0, len(run_ids), _AT_ONCE):
        some = query.where(link.run_id.in_(run_ids[begin : begin + _AT_ONCE]), link.role == "input")
        found.extend((row.run_id, LoggedDataset(*row[2:]), row.details or {}) for row in tx.execute(some))
    return found


def list_datasets(tx: sa.Connection, experiment_ids: Sequence[int], *, limit: int) -> list[tuple[int, str, str, str]]:
    """Return which datasets active runs read, as experiment, name, digest and context, in this order."""
    columns = (runs.c.experiment_id, run_links.c.name, run_links.c.ref, run_links.c.context)
    query = (
        sa.select(*columns)
        .distinct()
        .join_from(runs, run_links, run_links.c.run_id == runs.c.id)
        .where(runs.c.experiment_id.in_(experiment_ids), runs.c.state == "active")
        .where(run_links.c.role == "input", run_links.c.kind == "dataset")
        .order_by(*columns)
        .limit(limit)
    )
    return [tuple(row) for row in tx.execute(query)]


def find_runs(
    tx: sa.Connection,
    ids: Sequence[str],
    *,
    metrics: Sequence[str] | None = None,
    parameters: Sequence[str] | None = None,
    tags: Sequence[str] | None = None,
    with_latest: bool = False,
) -> list[Run]:
    """Return runs with what they have logged, in the order asked for; those that are not there are left out.

    Six statements, however many runs: the cost of a page follows what it shows.

    Args:
        tx: The transaction.
        ids: Which runs.
        metrics: Which metrics; all when left out. The same for parameters and tags.
        parameters: Which parameters.
        tags: Which tags.
        with_latest: Fill in ``latest``, too.
    """
    if not ids:
        return []
    found: dict[str, Run] = {}
    for begin in range(0, len(ids), _AT_ONCE):
        _read_runs(tx, ids[begin : begin + _AT_ONCE], metrics, parameters, tags, found, with_latest=with_latest)
    return [found[id_] for id_ in ids if id_ in found]


def _read_runs(
    tx: sa.Connection,
    ids: Sequence[str],
    metrics: Sequence[str] | None,
    parameters: Sequence[str] | None,
    tags: Sequence[str] | None,
    into: dict[str, Run],
    *,
    with_latest: bool,
) -> None:
    query = sa.select(*(runs.c[name] for name in _ROW), experiments.c.name.label("experiment"))
    query = query.join_from(runs, experiments, runs.c.experiment_id == experiments.c.id).where(runs.c.id.in_(ids))
    rows = {row["id"]: dict(row) for row in tx.execute(query).mappings()}
    given: dict[str, dict[str, Any]] = {id_: {} for id_ in rows}
    for id_, name, text, is_json in _logged(tx, run_parameters, rows, parameters, "is_json"):
        given[id_][name] = msgspec.json.decode(text) if is_json else text
    words: dict[str, dict[str, str]] = {id_: {} for id_ in rows}
    for id_, name, text in _logged(tx, run_tags, rows, tags):
        words[id_][name] = text
    latest = latest_metrics(tx, list(rows), metrics)
    links: dict[str, list[RunLink]] = {id_: [] for id_ in rows}
    for row in tx.execute(sa.select(run_links).where(run_links.c.run_id.in_(rows)).order_by(*run_links.primary_key)):
        links[row.run_id].append(RunLink(row.role, row.kind, row.name, row.ref, row.context, row.details))
    for id_, values in rows.items():
        into[id_] = Run(
            **values,
            parameters=given[id_],
            tags=words[id_],
            # JSON has no such numbers: a summary gives null, the history gives the word.
            metrics={one.name: one.value if math.isfinite(one.value) else None for one in latest[id_]},
            links=tuple(links[id_]),
            latest=tuple(latest[id_]) if with_latest else (),
        )


def _logged(
    tx: sa.Connection, table: sa.Table, ids: Iterable[str], names: Sequence[str] | None, *more: str
) -> Sequence[Any]:
    columns = [table.c[name] for name in ("run_id", "name", "value", *more)]
    query = sa.select(*columns).where(table.c.run_id.in_(list(ids))).order_by(table.c.run_id, table.c.name)
    # All rows at once and by their places: a page has thousands of them.
    return tx.execute(query if names is None else query.where(table.c.name.in_(names))).all()


def list_runs(
    tx: sa.Connection,
    *,
    project: str | None,
    experiment: str | None,
    kind: str | None,
    before: str | None,
    limit: int,
) -> list[Run]:
    """Return active runs, newest first."""
    query = sa.select(runs.c.id).where(runs.c.state == "active").order_by(runs.c.started_at.desc(), runs.c.id)
    for column, wanted in ((runs.c.project, project), (runs.c.kind, kind)):
        if wanted is not None:
            query = query.where(column == wanted)
    if experiment is not None:
        query = query.where(
            runs.c.experiment_id.in_(sa.select(experiments.c.id).where(experiments.c.name == experiment))
        )
    if before is not None:
        started_at = sa.select(runs.c.started_at).where(runs.c.id == before).scalar_subquery()
        later = (runs.c.started_at == started_at) & (runs.c.id > before)
        query = query.where((runs.c.started_at < started_at) | later)
    return find_runs(tx, list(tx.scalars(query.limit(limit))))
