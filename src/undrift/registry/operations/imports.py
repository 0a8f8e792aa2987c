"""What brings in models, versions and their histories from elsewhere, with numbers and times; and what reads them all.

Importing adds what is not there and changes nothing that is. Nothing that an import says about files is believed: they
are looked at again, as at every registration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Corrupt, Invalid, NotFound, TooLarge, UndriftError
from undrift.core.ids import check_name, derive_id
from undrift.core.operation import operation
from undrift.registry import records
from undrift.registry.model import (
    AliasMove,
    ApprovalPolicy,
    ApprovalRequest,
    Model,
    ModelVersion,
    StageMove,
    Trust,
    check_alias,
    check_model_name,
    check_stage,
    check_tag,
    check_text,
)
from undrift.registry.operations.versions import RegisterVersion, _check, _read_files
from undrift.registry.operations.words import find_model_named

__all__ = [
    "ExportHistory",
    "ExportVersions",
    "ImportHistory",
    "ImportModel",
    "ImportVersions",
    "ImportedModel",
    "ImportedVersion",
    "ModelHistory",
    "export_history",
    "export_versions",
    "import_history",
    "import_model",
    "import_versions",
]

_Entry = TypeVar("_Entry", AliasMove, StageMove, ApprovalPolicy, ApprovalRequest)

_MOST = 500
_ALL = 1_000_000


class ImportModel(msgspec.Struct, frozen=True):
    """A model as it was elsewhere, and where that was, for the log; its id is kept where it is free."""

    project: str
    model: Model
    source: str


class ImportedModel(msgspec.Struct, frozen=True):
    """The model that stands for the one elsewhere, whether it is new, and what could not be kept."""

    model: Model
    added: bool
    refused: tuple[str, ...] = ()


class ImportVersions(msgspec.Struct, frozen=True):
    """Versions as they were elsewhere, at most 500 a call, with their numbers; aliases and stages come as history."""

    project: str
    model: str
    source: str
    versions: tuple[ModelVersion, ...]


class ImportedVersion(msgspec.Struct, frozen=True):
    """What became of a version: whether it is new here, and what of it could not be kept."""

    number: int
    added: bool
    refused: tuple[str, ...] = ()


class ImportHistory(msgspec.Struct, frozen=True):
    """What was decided about a model elsewhere; each list oldest first.

    Attributes:
        project: Whose the model is.
        source: Where it comes from, for the log.
        model: The model; None for policies of the whole project.
        alias_moves: Where aliases pointed.
        stage_moves: Where versions stood.
        policies: How many persons had to agree.
        requests: Who asked for approval, and what was decided.
        trusts: Who answers for the bytes of which version.
    """

    project: str
    source: str
    model: str | None = None
    alias_moves: tuple[AliasMove, ...] = ()
    stage_moves: tuple[StageMove, ...] = ()
    policies: tuple[ApprovalPolicy, ...] = ()
    requests: tuple[ApprovalRequest, ...] = ()
    trusts: dict[int, Trust] = {}


class ExportVersions(msgspec.Struct, frozen=True):
    """Of which model, after which number, at most so many (1 to 500), oldest first."""

    project: str
    model: str
    after: int = 0
    limit: int = _MOST


class ExportHistory(msgspec.Struct, frozen=True):
    """Of which model."""

    project: str
    model: str


class ModelHistory(msgspec.Struct, frozen=True):
    """Everything that was decided about a model, each list oldest first."""

    alias_moves: tuple[AliasMove, ...]
    stage_moves: tuple[StageMove, ...]
    policies: tuple[ApprovalPolicy, ...]
    requests: tuple[ApprovalRequest, ...]


def _words(tags: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    kept, refused = {}, []
    for key, value in tags.items():
        try:
            check_tag(key, value)
        except UndriftError as error:
            refused.append(f"tag {key[:80]!r}: {error.message}")
        else:
            kept[key] = value
    return kept, refused


def _text(text: str, what: str, refused: list[str]) -> str:
    try:
        return check_text(text, what)
    except Invalid as error:
        refused.append(error.message)
        return ""


@operation("registry.import_model", permission="registry:write", emits=("model.imported",))
def import_model(ctx: Context, request: ImportModel) -> ImportedModel:
    """Bring in a model with its times; one of this name is taken for the same, and gets the tags that it lacks.

    Raises:
        Invalid: The name cannot be kept.
    """
    check_name(request.project, "project")
    given = request.model
    name = check_model_name(given.name)
    tags, refused = _words(given.tags)
    with ctx.begin() as tx:
        known = records.find_model(tx, request.project, name)
        added = known is None
        if known is None:
            taken = records.taken_ids(tx, [given.id])
            known = Model(
                id=derive_id(given.created_at, "import", request.project, name) if taken or not given.id else given.id,
                project=request.project,
                name=name,
                owner=given.owner[:200],
                created_at=given.created_at,
                description=_text(given.description, "The description", refused),
                tags={},
                updated_at=given.updated_at or given.created_at,
            )
            if not records.add_model(tx, known):
                raise Corrupt(f"The model {name!r} could not be added.", next_step="Try again.")
        fresh = {key: value for key, value in tags.items() if key not in known.tags}
        records.set_model_tags(tx, known.id, fresh)
        if added or fresh:
            ctx.emit(
                "model.imported",
                f"models/{name}",
                project=request.project,
                model=name,
                added=added,
                tags=fresh,
                source=request.source,
            )
        return ImportedModel(msgspec.structs.replace(known, tags=known.tags | fresh), added, tuple(refused))


@operation("registry.import_versions", permission="registry:write", emits=("model.version_imported",))
def import_versions(ctx: Context, request: ImportVersions) -> tuple[ImportedVersion, ...]:
    """Bring in versions with their numbers and times; those that are there get the tags that they lack.

    Nobody's trust is taken over: bytes that could run code wait for a person here, or for `registry.import_history`.

    Raises:
        NotFound: There is no such model.
        TooLarge: More than 500 versions in one call.
    """
    if len(request.versions) > _MOST:
        raise TooLarge(f"{len(request.versions)} versions in one call.", next_step=f"Send at most {_MOST} a call.")
    answers = []
    with ctx.begin() as tx:
        model = find_model_named(tx, request.project, request.model, lock=True)
        taken = records.taken_ids(tx, [version.id for version in request.versions])
        for given in request.versions:
            there = records.find_version(tx, model.id, number=given.number, deleted=True)
            tags, refused = _words(given.tags)
            if there is not None:
                fresh = {key: value for key, value in tags.items() if key not in there.tags}
                records.set_version_tags(tx, there.id, fresh)
                answers.append(ImportedVersion(given.number, added=False, refused=tuple(refused)))
                continue
            version = _as_was(ctx, tx, model, given, tags, refused, taken=given.id in taken)
            if version is None:
                answers.append(ImportedVersion(given.number, added=False, refused=tuple(refused)))
                continue
            records.add_version(tx, model.id, version)
            ctx.emit(
                "model.version_imported",
                f"models/{model.name}/{version.number}",
                project=model.project,
                model=model.name,
                number=version.number,
                run_id=version.run_id,
                artifact=version.artifact,
                format=version.format,
                state=version.state,
                unsafe=version.unsafe,
                source=request.source,
            )
            answers.append(ImportedVersion(given.number, added=True, refused=tuple(refused)))
    return tuple(answers)


def _as_was(
    ctx: Context, tx: Any, model: Model, given: ModelVersion, tags: dict[str, str], refused: list[str], *, taken: bool
) -> ModelVersion | None:
    if not 1 <= given.number < 2**31:
        refused.append("A version has a number from 1 on.")
        return None
    key = given.key
    if key is not None and records.find_version(tx, model.id, key=key) is not None:
        refused.append(f"key {key[:80]!r}: another version has it.")
        key = None
    deleted = given.state == "deleted"
    asked = RegisterVersion(
        model.project,
        model.name,
        run_id=given.run_id,
        # The bytes of a deleted version may have been given up: its place in the history stays.
        artifact=None if deleted else given.artifact,
        signature=given.signature,
        reference_profile=None if deleted else given.reference_profile,
        key=key,
        format=given.format,
        source=given.source,
        run_link=given.run_link,
        logged_model_id=given.logged_model_id,
    )
    try:
        _check(asked)
        # Refuses what is no digest, whether it is there or not.
        ctx.repository.objects.measure([one for one in (given.artifact, given.reference_profile) if one is not None])
        described = _read_files(ctx, asked)
    except UndriftError as error:
        refused.append(error.message)
        return None
    return msgspec.structs.replace(
        given,
        id=derive_id(given.created_at, "import", model.id, str(given.number)) if taken or not given.id else given.id,
        project=model.project,
        model=model.name,
        key=key,
        format=described.format,
        signature=described.signature,
        raw_signature=described.raw_signature or given.raw_signature,
        # Whoever loads looks again.
        unsafe=given.unsafe if deleted else described.unsafe,
        trust=None,
        metrics={name: value for name, value in given.metrics.items() if math.isfinite(value)},
        created_by=(given.created_by or ctx.actor.name)[:200],
        description=_text(given.description, "The description", refused),
        state_reason=_text(given.state_reason, "The reason", refused),
        tags=tags,
        updated_at=given.updated_at or given.created_at,
    )


@operation("registry.import_history", permission="registry:administer", emits=("model.history_imported",))
def import_history(ctx: Context, request: ImportHistory) -> int:
    """Bring in what was decided about a model elsewhere, and return how many entries were new.

    An alias, a stage of a version or a policy stays as it is when something else was decided of it here. Whoever may do
    this can say what others decided, so it asks for more than writing.

    Raises:
        NotFound: There is no such model or version.
        Invalid: An alias or a stage cannot be one.
        TooLarge: More than 100,000 entries in one call.
    """
    check_name(request.project, "project")
    lists = (request.alias_moves, request.stage_moves, request.policies, request.requests)
    if sum(map(len, lists)) > 100_000:
        raise TooLarge("More than 100,000 entries in one call.", next_step="Send fewer a call.")
    for move in request.alias_moves:
        check_alias(move.alias)
    for staged in request.stage_moves:
        check_stage(staged.stage)
    added = 0
    with ctx.begin() as tx:
        model = None
        if request.model is not None:
            model = find_model_named(tx, request.project, request.model, lock=True)
        taken = records.taken_ids(tx, [one.id for some in lists for one in some])
        place = request.project if model is None else model.id
        name = None if model is None else model.name

        def fresh(
            given: Sequence[_Entry], here: Sequence[_Entry], of: Callable[[_Entry], object] = lambda one: one.id
        ) -> Iterator[_Entry]:
            # The same history may be here already, as that of another project.
            again = {one.id: derive_id(one.at, "import", place, one.id) for one in given}
            mine = {one.id for one in here}
            parted = {of(one) for one in here if one.id not in again and one.id not in again.values()}
            for one in given:
                if one.id not in mine and again[one.id] not in mine and of(one) not in parted:
                    yield msgspec.structs.replace(one, id=again[one.id] if one.id in taken else one.id)

        policies = [one for one in records.list_policies(tx, request.project, limit=_ALL) if one.model == name]
        for policy in fresh(request.policies, policies, lambda one: one.alias):
            records.add_policy(
                tx, "" if model is None else model.id, msgspec.structs.replace(policy, project=request.project)
            )
            added += 1
        if model is not None:
            numbers = _Numbers(tx, model)
            moves = records.list_moves(tx, model.id, limit=_ALL)
            for move in fresh(request.alias_moves, moves, lambda one: one.alias):
                if move.number is not None:
                    numbers.id_of(move.number)
                records.add_alias_move(tx, model.id, move)
                added += 1
            stages = records.list_stage_moves(tx, model.id, limit=_ALL)
            for staged in fresh(request.stage_moves, stages, lambda one: one.number):
                records.add_stage_move(tx, numbers.id_of(staged.number), staged)
                added += 1
            for asked in fresh(request.requests, records.list_requests(tx, model_id=model.id, limit=_ALL)):
                numbers.id_of(asked.number)
                records.add_request(tx, model.id, asked)
                for count, decision in enumerate(asked.decisions):
                    records.add_decision(tx, derive_id(decision.at, "import", asked.id, str(count)), asked.id, decision)
                added += 1
            for number, trust in request.trusts.items():
                found = records.find_version(tx, model.id, number=number, deleted=True)
                if found is not None and found.trust is None:
                    records.change_version(tx, found.id, trust=trust)
                    added += 1
        if added:
            ctx.emit(
                "model.history_imported",
                f"models/{model.name}" if model else "models",
                project=request.project,
                model=None if model is None else model.name,
                entries=added,
                source=request.source,
            )
    return added


class _Numbers:
    def __init__(self, tx: Any, model: Model) -> None:
        self._tx, self._model = tx, model
        self._ids: dict[int, str] = {}

    def id_of(self, number: int) -> str:
        """Return the id of a version that has to be there."""
        if number not in self._ids:
            found = records.find_version(self._tx, self._model.id, number=number, deleted=True)
            if found is None:
                raise NotFound(
                    f"Model {self._model.name!r} has no version {number}.", next_step="Import its versions first."
                )
            self._ids[number] = found.id
        return self._ids[number]


@operation("registry.export_versions", permission="registry:read")
def export_versions(ctx: Context, request: ExportVersions) -> list[ModelVersion]:
    """Return the versions of a model by number, also deleted ones, a page at a time.

    Raises:
        NotFound: There is no such model.
    """
    with ctx.read() as tx:
        model = find_model_named(tx, request.project, request.model)
        limit = max(1, min(request.limit, _MOST))
        return records.page_of_versions(tx, model.id, after=request.after, limit=limit)


@operation("registry.export_history", permission="registry:read")
def export_history(ctx: Context, request: ExportHistory) -> ModelHistory:
    """Return everything that was decided about a model, oldest first.

    Raises:
        NotFound: There is no such model.
    """
    with ctx.read() as tx:
        model = find_model_named(tx, request.project, request.model)
        policies = records.list_policies(tx, model.project, limit=_ALL)
        return ModelHistory(
            tuple(reversed(records.list_moves(tx, model.id, limit=_ALL))),
            tuple(reversed(records.list_stage_moves(tx, model.id, limit=_ALL))),
            tuple(reversed([one for one in policies if one.model == model.name])),
            tuple(reversed(records.list_requests(tx, model_id=model.id, limit=_ALL))),
        )
