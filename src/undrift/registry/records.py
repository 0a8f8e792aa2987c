"""The registry in SQL.

What a page of versions or models shows besides its own rows (tags, aliases, stages) is read for the whole page at
once, so that a read costs the same few statements however much there is.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from undrift.metastore import bytewise, insert_or_ignore, like, to_struct
from undrift.registry.model import (
    AliasMove,
    ApprovalPolicy,
    ApprovalRequest,
    Decision,
    Model,
    ModelVersion,
    StageMove,
)
from undrift.registry.tables import (
    alias_moves,
    approval_decisions,
    approval_policies,
    approval_requests,
    model_tags,
    models,
    stage_moves,
    version_tags,
    versions,
)

if TYPE_CHECKING:
    from undrift.core.filters import Clause, OrderBy

__all__ = [
    "add_alias_move",
    "add_decision",
    "add_model",
    "add_policy",
    "add_request",
    "add_stage_move",
    "add_version",
    "change_model",
    "change_version",
    "delete_model",
    "find_model",
    "find_model_by_id",
    "find_policy",
    "find_version",
    "last_alias_move",
    "last_policy",
    "latest_by_stage",
    "list_aliases",
    "list_models",
    "list_moves",
    "list_policies",
    "list_requests",
    "list_stage_moves",
    "list_versions",
    "newest_numbers",
    "next_number",
    "page_of_versions",
    "remove_model_tag",
    "remove_version_tag",
    "search_models",
    "search_versions",
    "set_model_tags",
    "set_request_state",
    "set_version_tags",
    "standing_at",
    "taken_ids",
]

_IDS_A_STATEMENT = 10_000
_IS_PROMPT = "mlflow.prompt.is_prompt"


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    # An engine takes some ten thousand parameters a statement.
    wanted = list(dict.fromkeys(ids))
    for start in range(0, len(wanted), _IDS_A_STATEMENT):
        yield wanted[start : start + _IDS_A_STATEMENT]


# --- Models ---


def add_model(tx: sa.Connection, model: Model) -> bool:
    """Add a model unless there is one of that name; returns whether it is new."""
    values = {name: value for name, value in msgspec.structs.asdict(model).items() if name != "tags"}
    return bool(tx.execute(insert_or_ignore(tx, models).values(**values)).rowcount)


def find_model(tx: sa.Connection, project: str, name: str, *, lock: bool = False) -> Model | None:
    """Return the model of that name.

    Args:
        tx: The transaction.
        project: Whose.
        name: Its name.
        lock: Hold it until the transaction ends: whoever changes something of it waits for us.
    """
    query = sa.select(models).where(models.c.project == project, models.c.name == name)
    if lock and tx.dialect.name == "postgresql":
        # On SQLite there is one writer at a time anyway.
        query = query.with_for_update()
    row = tx.execute(query).mappings().first()
    return None if row is None else _with_model_tags(tx, [to_struct(row, Model)])[0]


def find_model_by_id(tx: sa.Connection, project: str, id_: str) -> Model | None:
    """Return the model of that id when it is of this project."""
    row = tx.execute(sa.select(models).where(models.c.id == id_, models.c.project == project)).mappings().first()
    return None if row is None else _with_model_tags(tx, [to_struct(row, Model)])[0]


def list_models(tx: sa.Connection, project: str | None) -> list[Model]:
    """Return all models, by name."""
    query = sa.select(models).order_by(models.c.project, bytewise(tx, models.c.name))
    if project is not None:
        query = query.where(models.c.project == project)
    return _with_model_tags(tx, [to_struct(row, Model) for row in tx.execute(query).mappings()])


def change_model(tx: sa.Connection, model_id: str, **values: Any) -> None:
    """Change columns of a model."""
    tx.execute(sa.update(models).where(models.c.id == model_id).values(**values))


def delete_model(tx: sa.Connection, model_id: str) -> None:
    """Remove a model with everything that belongs to it."""
    of_model = sa.select(versions.c.id).where(versions.c.model_id == model_id)
    asked = sa.select(approval_requests.c.id).where(approval_requests.c.model_id == model_id)
    tx.execute(sa.delete(version_tags).where(version_tags.c.version_id.in_(of_model)))
    tx.execute(sa.delete(stage_moves).where(stage_moves.c.version_id.in_(of_model)))
    tx.execute(sa.delete(approval_decisions).where(approval_decisions.c.request_id.in_(asked)))
    for table in (versions, model_tags, alias_moves, approval_requests, approval_policies):
        tx.execute(sa.delete(table).where(table.c.model_id == model_id))
    tx.execute(sa.delete(models).where(models.c.id == model_id))


def set_model_tags(tx: sa.Connection, model_id: str, tags: dict[str, str]) -> None:
    """Set tags of a model; those of the same key are overwritten."""
    _set_tags(tx, model_tags, model_tags.c.model_id, model_id, tags)


def remove_model_tag(tx: sa.Connection, model_id: str, key: str) -> bool:
    """Remove a tag of a model; returns whether it was there."""
    return _remove_tag(tx, model_tags, model_tags.c.model_id, model_id, key)


def _set_tags(tx: sa.Connection, table: sa.Table, owner: sa.Column[str], owner_id: str, tags: dict[str, str]) -> None:
    if not tags:
        return
    tx.execute(sa.delete(table).where(owner == owner_id, table.c.key.in_(list(tags))))
    tx.execute(sa.insert(table), [{owner.name: owner_id, "key": key, "value": value} for key, value in tags.items()])


def _remove_tag(tx: sa.Connection, table: sa.Table, owner: sa.Column[str], owner_id: str, key: str) -> bool:
    gone = sa.delete(table).where(owner == owner_id, table.c.key == key)
    return bool(tx.execute(gone.execution_options(preserve_rowcount=True)).rowcount)


def _with_model_tags(tx: sa.Connection, found: list[Model]) -> list[Model]:
    tags = _tags(tx, model_tags, model_tags.c.model_id, [one.id for one in found])
    return [msgspec.structs.replace(one, tags=tags[one.id]) if one.id in tags else one for one in found]


def _tags(
    tx: sa.Connection, table: sa.Table, owner: sa.Column[str], ids: Iterable[str]
) -> defaultdict[str, dict[str, str]]:
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for some in _chunks(ids):
        query = sa.select(owner.label("owner"), table.c.key, table.c.value).where(owner.in_(some))
        for row in tx.execute(query.order_by(owner, bytewise(tx, table.c.key))):
            found[row.owner][row.key] = row.value
    return found


# --- Versions ---


def next_number(tx: sa.Connection, model_id: str) -> int:
    """Return the number the next version gets: one more than was ever given; the model has to be locked."""
    return (tx.scalar(sa.select(sa.func.max(versions.c.number)).where(versions.c.model_id == model_id)) or 0) + 1


def newest_numbers(tx: sa.Connection, model_ids: Iterable[str]) -> dict[str, int]:
    """Return the number of the newest version that is not deleted, of each model that has one."""
    newest: dict[str, int] = {}
    for some in _chunks(model_ids):
        query = (
            sa.select(versions.c.model_id, sa.func.max(versions.c.number).label("newest"))
            .where(versions.c.model_id.in_(some), versions.c.state != "deleted")
            .group_by(versions.c.model_id)
        )
        newest |= {row.model_id: row.newest for row in tx.execute(query)}
    return newest


def add_version(tx: sa.Connection, model_id: str, version: ModelVersion) -> None:
    """Add a version, with its tags."""
    kept = {column.name for column in versions.c}
    values = {name: value for name, value in msgspec.structs.asdict(version).items() if name in kept}
    tx.execute(sa.insert(versions).values(**values, model_id=model_id))
    set_version_tags(tx, version.id, version.tags)


def find_version(
    tx: sa.Connection,
    model_id: str,
    *,
    number: int | None = None,
    key: str | None = None,
    deleted: bool = False,
) -> ModelVersion | None:
    """Return a version by its number or its key.

    Args:
        tx: The transaction.
        model_id: Of which model.
        number: Its number.
        key: The key it was registered under.
        deleted: Return it also when it was deleted, for histories.
    """
    asked = versions.c.key == key if key is not None else versions.c.number == number
    query = _versions().where(versions.c.model_id == model_id, asked)
    if not deleted:
        query = query.where(versions.c.state != "deleted")
    found = _read_versions(tx, query)
    return found[0] if found else None


def list_versions(
    tx: sa.Connection, model_id: str, *, limit: int, created_by: datetime | None = None
) -> list[ModelVersion]:
    """Return versions, newest first; with ``created_by`` those that were there at that moment."""
    query = _versions().where(versions.c.model_id == model_id, versions.c.state != "deleted")
    if created_by is not None:
        query = query.where(versions.c.created_at <= created_by)
    return _read_versions(tx, query.order_by(versions.c.number.desc()).limit(limit))


def page_of_versions(tx: sa.Connection, model_id: str, *, after: int, limit: int) -> list[ModelVersion]:
    """Return versions with numbers greater than one, oldest first, also deleted ones."""
    query = _versions().where(versions.c.model_id == model_id, versions.c.number > after)
    return _read_versions(tx, query.order_by(versions.c.number).limit(limit))


def taken_ids(tx: sa.Connection, ids: Iterable[str]) -> set[str]:
    """Return those of these ids that something in the registry has already."""
    found: set[str] = set()
    for some in _chunks(ids):
        for table in (models, versions, alias_moves, stage_moves, approval_policies, approval_requests):
            found.update(tx.scalars(sa.select(table.c.id).where(table.c.id.in_(some))))
    return found


def latest_by_stage(tx: sa.Connection, model_ids: Iterable[str]) -> dict[str, list[ModelVersion]]:
    """Return the newest version in each stage, of each model, oldest first."""
    found: defaultdict[str, list[ModelVersion]] = defaultdict(list)
    for some in _chunks(model_ids):
        place = sa.func.row_number().over(
            partition_by=(versions.c.model_id, sa.func.coalesce(stage_moves.c.stage, "None")),
            order_by=versions.c.number.desc(),
        )
        ranked = (
            sa.select(versions.c.id, place.label("place"))
            .outerjoin(stage_moves, _stands(versions.c.id))
            .where(versions.c.model_id.in_(some), versions.c.state != "deleted")
            .subquery()
        )
        query = _versions().join(ranked, sa.and_(ranked.c.id == versions.c.id, ranked.c.place == 1))
        owners: dict[str, str] = {}
        for version in _read_versions(tx, query.order_by(versions.c.number), owners):
            found[owners[version.id]].append(version)
    return found


def change_version(tx: sa.Connection, version_id: str, **values: Any) -> None:
    """Change columns of a version that may change: description, trust, state."""
    tx.execute(sa.update(versions).where(versions.c.id == version_id).values(**values))


def set_version_tags(tx: sa.Connection, version_id: str, tags: dict[str, str]) -> None:
    """Set tags of a version; those of the same key are overwritten."""
    _set_tags(tx, version_tags, version_tags.c.version_id, version_id, tags)


def remove_version_tag(tx: sa.Connection, version_id: str, key: str) -> bool:
    """Remove a tag of a version; returns whether it was there."""
    return _remove_tag(tx, version_tags, version_tags.c.version_id, version_id, key)


def _stands(version_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    return sa.and_(stage_moves.c.version_id == version_id, stage_moves.c.until.is_(None))


def _versions() -> sa.Select[Any]:
    return (
        sa.select(
            versions,
            models.c.project,
            models.c.name.label("model"),
            sa.func.coalesce(stage_moves.c.stage, "None").label("stage"),
        )
        .join(models, models.c.id == versions.c.model_id)
        .outerjoin(stage_moves, _stands(versions.c.id))
    )


def _read_versions(
    tx: sa.Connection, query: sa.Select[Any], owners: dict[str, str] | None = None
) -> list[ModelVersion]:
    """Read a page of versions with their tags and aliases; ``owners`` takes the model's id of each."""
    rows = [dict(row) for row in tx.execute(query).mappings()]
    model_ids = {row["id"]: row.pop("model_id") for row in rows}
    if owners is not None:
        owners |= model_ids
    tags = _tags(tx, version_tags, version_tags.c.version_id, model_ids)
    pointing: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for model_id, standing in list_aliases(tx, model_ids.values()).items():
        for alias, number in standing.items():
            pointing[model_id, number].append(alias)
    found = []
    for row in rows:
        row["tags"] = tags.get(row["id"], {})
        row["aliases"] = tuple(pointing.get((model_ids[row["id"]], row["number"]), ()))
        found.append(to_struct(row, ModelVersion))  # type: ignore[arg-type]  # a row with two more columns
    return found


# --- Aliases ---


def add_alias_move(tx: sa.Connection, model_id: str, move: AliasMove) -> None:
    """Append a move to the history of an alias; the one before it stood until then."""
    same = (alias_moves.c.model_id == model_id, alias_moves.c.alias == move.alias)
    tx.execute(sa.update(alias_moves).where(*same, alias_moves.c.until.is_(None)).values(until=move.at))
    newest = tx.scalar(sa.select(sa.func.max(alias_moves.c.sequence)).where(*same)) or 0
    values = _without(move, "project", "model")
    tx.execute(sa.insert(alias_moves).values(**values, model_id=model_id, sequence=newest + 1))


def _without(struct: msgspec.Struct, *names: str) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(struct).items() if name not in names}


def _moves(model_id: str) -> sa.Select[Any]:
    columns = [column for column in alias_moves.c if column.name not in {"sequence", "model_id"}]
    return (
        sa.select(*columns, models.c.project, models.c.name.label("model"))
        .join(models, models.c.id == alias_moves.c.model_id)
        .where(alias_moves.c.model_id == model_id)
    )


def list_moves(
    tx: sa.Connection, model_id: str, *, alias: str | None = None, number: int | None = None, limit: int = 1000
) -> list[AliasMove]:
    """Return moves, newest first: of one alias, or to and away from one version, when asked."""
    query = _moves(model_id).order_by(alias_moves.c.at.desc(), alias_moves.c.sequence.desc()).limit(limit)
    if alias is not None:
        query = query.where(alias_moves.c.alias == alias)
    if number is not None:
        query = query.where(sa.or_(alias_moves.c.number == number, alias_moves.c.previous == number))
    return [to_struct(row, AliasMove) for row in tx.execute(query).mappings()]


def last_alias_move(tx: sa.Connection, model_id: str, alias: str) -> AliasMove | None:
    """Return the newest move of an alias, also when it took it away."""
    row = tx.execute(_moves(model_id).where(alias_moves.c.alias == alias, alias_moves.c.until.is_(None)))
    found = row.mappings().first()
    return None if found is None else to_struct(found, AliasMove)


def standing_at(
    tx: sa.Connection, model_id: str, alias: str, moment: datetime
) -> tuple[AliasMove | None, AliasMove | None]:
    """Return the move that held at a moment, and the one that came after it."""
    query = _moves(model_id).where(alias_moves.c.alias == alias)
    held = query.where(alias_moves.c.at <= moment).order_by(alias_moves.c.sequence.desc()).limit(1)
    came = query.where(alias_moves.c.at > moment).order_by(alias_moves.c.sequence).limit(1)
    found = [tx.execute(asked).mappings().first() for asked in (held, came)]
    before, after = (None if row is None else to_struct(row, AliasMove) for row in found)
    return before, after


def list_aliases(tx: sa.Connection, model_ids: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return where the aliases of models point now, by model and alias."""
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for some in _chunks(model_ids):
        query = (
            sa.select(alias_moves.c.model_id, alias_moves.c.alias, alias_moves.c.number)
            .where(alias_moves.c.model_id.in_(some), alias_moves.c.until.is_(None), alias_moves.c.number.is_not(None))
            .order_by(alias_moves.c.model_id, bytewise(tx, alias_moves.c.alias))
        )
        for row in tx.execute(query):
            found[row.model_id][row.alias] = row.number
    return found


# --- Stages ---


def add_stage_move(tx: sa.Connection, version_id: str, move: StageMove) -> None:
    """Append a move to the history of a version's stage."""
    tx.execute(sa.update(stage_moves).where(_stands(sa.literal(version_id))).values(until=move.at))
    newest = sa.select(sa.func.max(stage_moves.c.sequence)).where(stage_moves.c.version_id == version_id)
    values = _without(move, "project", "model", "number")
    tx.execute(sa.insert(stage_moves).values(**values, version_id=version_id, sequence=(tx.scalar(newest) or 0) + 1))


def list_stage_moves(
    tx: sa.Connection, model_id: str, *, number: int | None = None, stage: str | None = None, limit: int = 1000
) -> list[StageMove]:
    """Return stage moves, newest first; with ``stage`` those of versions that stand there now and are not deleted."""
    columns = [column for column in stage_moves.c if column.name not in {"sequence", "version_id"}]
    query = (
        sa.select(*columns, versions.c.number, models.c.project, models.c.name.label("model"))
        .join(versions, versions.c.id == stage_moves.c.version_id)
        .join(models, models.c.id == versions.c.model_id)
        .where(versions.c.model_id == model_id)
        .order_by(stage_moves.c.at.desc(), versions.c.number.desc(), stage_moves.c.sequence.desc())
        .limit(limit)
    )
    if number is not None:
        query = query.where(versions.c.number == number)
    if stage is not None:
        query = query.where(stage_moves.c.stage == stage, stage_moves.c.until.is_(None), versions.c.state != "deleted")
    return [to_struct(row, StageMove) for row in tx.execute(query).mappings()]


# --- Approvals ---


def add_policy(tx: sa.Connection, model_id: str, policy: ApprovalPolicy) -> None:
    """Append a policy; ``model_id`` is empty for the one of the whole project."""
    same = (
        approval_policies.c.project == policy.project,
        approval_policies.c.model_id == model_id,
        approval_policies.c.alias == policy.alias,
    )
    tx.execute(sa.update(approval_policies).where(*same, approval_policies.c.until.is_(None)).values(until=policy.at))
    newest = tx.scalar(sa.select(sa.func.max(approval_policies.c.sequence)).where(*same)) or 0
    values = _without(policy, "model")
    tx.execute(sa.insert(approval_policies).values(**values, model_id=model_id, sequence=newest + 1))


def _policies() -> sa.Select[Any]:
    columns = [column for column in approval_policies.c if column.name not in {"sequence", "model_id"}]
    return sa.select(*columns, models.c.name.label("model")).outerjoin(
        models, models.c.id == approval_policies.c.model_id
    )


def last_policy(tx: sa.Connection, project: str, model_id: str, alias: str) -> ApprovalPolicy | None:
    """Return the policy that was set last for exactly this model, or for the project when ``model_id`` is empty."""
    query = _policies().where(
        approval_policies.c.project == project,
        approval_policies.c.model_id == model_id,
        approval_policies.c.alias == alias,
        approval_policies.c.until.is_(None),
    )
    row = tx.execute(query).mappings().first()
    return None if row is None else to_struct(row, ApprovalPolicy)


def find_policy(tx: sa.Connection, project: str, model_id: str, alias: str) -> ApprovalPolicy | None:
    """Return the policy that holds for a model: its own, or the project's."""
    query = _policies().where(
        approval_policies.c.project == project,
        approval_policies.c.model_id.in_(["", model_id]),
        approval_policies.c.alias == alias,
        approval_policies.c.until.is_(None),
    )
    # The one of the project has an empty id, and so comes last.
    row = tx.execute(query.order_by(bytewise(tx, approval_policies.c.model_id).desc()).limit(1)).mappings().first()
    return None if row is None else to_struct(row, ApprovalPolicy)


def list_policies(tx: sa.Connection, project: str, *, limit: int) -> list[ApprovalPolicy]:
    """Return the policies of a project and its models, newest first, with those that hold no more."""
    query = _policies().where(approval_policies.c.project == project)
    query = query.order_by(approval_policies.c.at.desc(), approval_policies.c.id.desc()).limit(limit)
    return [to_struct(row, ApprovalPolicy) for row in tx.execute(query).mappings()]


def add_request(tx: sa.Connection, model_id: str, request: ApprovalRequest) -> None:
    """Add a request for approval."""
    values = _without(request, "project", "model", "decisions")
    tx.execute(sa.insert(approval_requests).values(**values, model_id=model_id))


def set_request_state(tx: sa.Connection, request_id: str, state: str) -> None:
    """Say where a request for approval stands."""
    tx.execute(sa.update(approval_requests).where(approval_requests.c.id == request_id).values(state=state))


def add_decision(tx: sa.Connection, decision_id: str, request_id: str, decision: Decision) -> None:
    """Add what a person decided about a request."""
    values = msgspec.structs.asdict(decision)
    tx.execute(sa.insert(approval_decisions).values(**values, id=decision_id, request_id=request_id))


def list_requests(
    tx: sa.Connection,
    *,
    project: str | None = None,
    model_id: str | None = None,
    number: int | None = None,
    alias: str | None = None,
    state: str | None = None,
    limit: int = 1000,
) -> list[ApprovalRequest]:
    """Return requests for approval with what was decided about them, newest first."""
    query = (
        sa.select(approval_requests, models.c.project, models.c.name.label("model"))
        .join(models, models.c.id == approval_requests.c.model_id)
        .order_by(approval_requests.c.at.desc(), approval_requests.c.id.desc())
        .limit(limit)
    )
    asked = {
        models.c.project: project,
        approval_requests.c.model_id: model_id,
        approval_requests.c.number: number,
        approval_requests.c.alias: alias,
        approval_requests.c.state: state,
    }
    for column, value in asked.items():
        if value is not None:
            query = query.where(column == value)
    rows = tx.execute(query).mappings().all()
    decided: defaultdict[str, list[Decision]] = defaultdict(list)
    for some in _chunks(row["id"] for row in rows):
        said = sa.select(approval_decisions).where(approval_decisions.c.request_id.in_(some))
        for one in tx.execute(said.order_by(approval_decisions.c.at, approval_decisions.c.id)).mappings():
            decided[one["request_id"]].append(to_struct(one, Decision))
    found = [to_struct(row, ApprovalRequest) for row in rows]
    return [msgspec.structs.replace(one, decisions=tuple(decided[one.id])) for one in found]


# --- Search ---

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def search_models(
    tx: sa.Connection,
    project: str,
    clauses: Sequence[Clause],
    order: Sequence[OrderBy],
    *,
    limit: int,
    offset: int,
) -> list[Model]:
    """Return the models that satisfy all clauses; by name when no order is asked for."""
    keys = {"name": models.c.name}
    query = sa.select(models).where(models.c.project == project)
    query = query.where(*_conditions(tx, clauses, keys, model_tags, model_tags.c.model_id, models.c.id))
    times = dict.fromkeys(("timestamp", "last_updated_timestamp"), models.c.updated_at)
    ordered = _ordered(tx, order, keys | times, [])
    rows = tx.execute(query.order_by(*ordered, bytewise(tx, models.c.name)).limit(limit).offset(offset)).mappings()
    return _with_model_tags(tx, [to_struct(row, Model) for row in rows])


def search_versions(
    tx: sa.Connection,
    project: str,
    clauses: Sequence[Clause],
    order: Sequence[OrderBy],
    *,
    limit: int,
    offset: int,
) -> list[ModelVersion]:
    """Return the versions that satisfy all clauses; the last changed first when no order is asked for."""
    keys: dict[str, sa.ColumnElement[Any]] = {
        "name": models.c.name,
        "run_id": versions.c.run_id,
        "source_path": versions.c.source,
        "version_number": versions.c.number,
    }
    query = _versions().where(models.c.project == project, versions.c.state != "deleted")
    query = query.where(*_conditions(tx, clauses, keys, version_tags, version_tags.c.version_id, versions.c.id))
    times = {
        "creation_timestamp": versions.c.created_at,
        "last_updated_timestamp": versions.c.updated_at,
    }
    ordered = _ordered(tx, order, keys | times, [versions.c.updated_at.desc()])
    query = query.order_by(*ordered, bytewise(tx, models.c.name), versions.c.number.desc())
    return _read_versions(tx, query.limit(limit).offset(offset))


def _conditions(
    tx: sa.Connection,
    clauses: Sequence[Clause],
    keys: dict[str, Any],
    tags: sa.Table,
    owner: sa.Column[str],
    owned: sa.ColumnElement[str],
) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    prompts = any(_asks_for_prompts(clause) for clause in clauses)
    for clause in clauses:
        if not prompts and clause.entity == "tag" and clause.key == _IS_PROMPT:
            continue  # clients ask for what is no prompt, which has no such tag
        if clause.entity == "tag":
            value = _compared(tx, tags.c.value, clause)
            conditions.append(sa.exists().where(owner == owned, tags.c.key == clause.key, value))
        else:
            conditions.append(_compared(tx, keys[clause.key], clause))
    if not prompts:
        prompt = sa.exists().where(owner == owned, tags.c.key == _IS_PROMPT, sa.func.lower(tags.c.value) == "true")
        conditions.append(~prompt)
    return conditions


def _asks_for_prompts(clause: Clause) -> bool:
    value = str(clause.value).lower()
    said = (clause.op, value) in {("=", "true"), ("!=", "false")}
    return clause.entity == "tag" and clause.key == _IS_PROMPT and said


def _ordered(
    tx: sa.Connection, order: Sequence[OrderBy], keys: dict[str, Any], otherwise: list[sa.ColumnElement[Any]]
) -> list[sa.ColumnElement[Any]]:
    ordered = []
    for one in order:
        column = keys[one.key]
        if isinstance(column.type, sa.String):
            column = bytewise(tx, column)
        ordered.append(column.asc() if one.ascending else column.desc())
    return ordered or otherwise


def _compared(tx: sa.Connection, column: Any, clause: Clause) -> sa.ColumnElement[bool]:
    if clause.op in _COMPARE:
        compared: sa.ColumnElement[bool] = _COMPARE[clause.op](column, clause.value)
        return compared
    if clause.op in {"IN", "NOT IN"}:
        values = clause.value if isinstance(clause.value, tuple) else (clause.value,)
        return column.in_(values) if clause.op == "IN" else column.not_in(values)  # type: ignore[no-any-return]
    if clause.op in {"IS NULL", "IS NOT NULL"}:
        return column.is_(None) if clause.op == "IS NULL" else column.is_not(None)  # type: ignore[no-any-return]
    return like(tx, column, str(clause.value), case_sensitive=clause.op == "LIKE")  # type: ignore[no-any-return]
