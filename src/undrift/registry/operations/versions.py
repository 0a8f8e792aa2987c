"""What can be done with versions."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, Forbidden, Invalid, NotFound
from undrift.core.ids import check_id, new_id
from undrift.core.operation import operation
from undrift.registry import records
from undrift.registry.mlmodel import (
    MLMODEL,
    detect_format,
    read_mlmodel,
    signature_of_mlmodel,
    unsafe_because,
)
from undrift.registry.model import (
    ModelFormat,
    ModelVersion,
    Signature,
    StageMove,
    Trust,
    check_stage,
    check_tag,
    check_text,
)
from undrift.registry.operations.aliases import alias_move_at, remove_alias_of
from undrift.registry.operations.words import ListVersions, find_model_named, find_version_numbered, retired

__all__ = [
    "DeleteVersion",
    "DescribeVersion",
    "FindVersion",
    "ListVersions",
    "MoveStage",
    "RegisterVersion",
    "RetireVersion",
    "TagVersion",
    "TrustVersion",
    "UntagVersion",
    "check_loadable",
    "delete_version",
    "describe_version",
    "find_version",
    "find_version_by_id",
    "list_versions",
    "move_stage",
    "register_version",
    "retire_version",
    "stage_history",
    "tag_version",
    "trust_version",
    "untag_version",
]

_LONGEST_SOURCE = 8_000


class RegisterVersion(msgspec.Struct, frozen=True):
    """A version to register; see `undrift.registry.ModelVersion` for the fields.

    Metrics that are no finite number are left out.

    Attributes:
        project: Whose the model is.
        model: Name of the model.
        run_id: The run that made it.
        artifact: Tree in the store with its files.
        signature: What it takes and gives; read from an ``MLmodel`` file when left out and there is one.
        training: Datasets with version, window, rows and what was left out.
        metrics: Evaluation, by name.
        reference_profile: Object with the profile of what it was trained on.
        key: Names this registration: doing it again with the same key gives the same version.
        format: How the bytes are to be read; found out from the files when left out.
        source: Where a client said the files come from.
        run_link: Where a client said the run can be looked at.
        logged_model_id: The logged model it was made of.
        description: What is special about it.
        tags: Words about it.
    """

    project: str
    model: str
    run_id: str | None = None
    artifact: str | None = None
    signature: Signature | None = None
    training: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    reference_profile: str | None = None
    key: str | None = None
    format: ModelFormat | None = None
    source: str = ""
    run_link: str = ""
    logged_model_id: str | None = None
    description: str = ""
    tags: dict[str, str] = {}


class FindVersion(msgspec.Struct, frozen=True):
    """Which version: by number, or where an alias points, now or at an earlier moment.

    The alias ``latest`` is the newest version that there is, or was at that moment.
    """

    project: str
    model: str
    number: int | None = None
    alias: str | None = None
    as_of: datetime | None = None


class DescribeVersion(msgspec.Struct, frozen=True):
    """What is special about a version."""

    project: str
    model: str
    number: int
    description: str


class TagVersion(msgspec.Struct, frozen=True):
    """Words about a version; those of the same key are overwritten."""

    project: str
    model: str
    number: int
    tags: dict[str, str]


class UntagVersion(msgspec.Struct, frozen=True):
    """Which word about a version shall go."""

    project: str
    model: str
    number: int
    key: str


class RetireVersion(msgspec.Struct, frozen=True):
    """Which version is not to be used any more, and why."""

    project: str
    model: str
    number: int
    reason: str


class DeleteVersion(msgspec.Struct, frozen=True):
    """Which version shall not be found any more, and why."""

    project: str
    model: str
    number: int
    reason: str = ""


class MoveStage(msgspec.Struct, frozen=True):
    """Into which stage a version goes, and why.

    Attributes:
        project: Whose the model is.
        model: Name of the model.
        number: The version.
        stage: ``None``, ``Staging``, ``Production`` or ``Archived``, in any case.
        archive_existing: Archive the other versions of that stage.
        reason: Why.
    """

    project: str
    model: str
    number: int
    stage: str
    archive_existing: bool = False
    reason: str = ""


class TrustVersion(msgspec.Struct, frozen=True):
    """For which version a person answers, although loading it could run any code, and why."""

    project: str
    model: str
    number: int
    reason: str


@operation("registry.register_version", permission="registry:write", emits=("model.version_registered",))
def register_version(ctx: Context, request: RegisterVersion) -> ModelVersion:
    """Register the next version of a model; the same key registers the same version once.

    Files with an ``MLmodel`` file tell the signature themselves. What a version lacks (a run, a signature, files in
    the store) is no error: its card names it.

    Raises:
        NotFound: There is no such model; or the artifact, a file of it or the reference profile is not in the store.
        Invalid: The signature has no inputs: it would be a contract about nothing. Or a text cannot be kept.
    """
    _check(request)
    described = _read_files(ctx, request)
    with ctx.begin() as tx:
        model = find_model_named(tx, request.project, request.model, lock=True)
        if request.key is not None:
            known = records.find_version(tx, model.id, key=request.key)
            if known is not None:
                return known
        now = ctx.now()
        version = ModelVersion(
            id=new_id(),
            project=model.project,
            model=model.name,
            number=records.next_number(tx, model.id),
            run_id=request.run_id,
            artifact=request.artifact,
            format=described.format,
            signature=described.signature,
            raw_signature=described.raw_signature,
            training=request.training,
            # JSON has no such numbers: what was not measured is not there.
            metrics={name: value for name, value in request.metrics.items() if math.isfinite(value)},
            reference_profile=request.reference_profile,
            created_at=now,
            created_by=ctx.actor.name,
            source=request.source,
            run_link=request.run_link,
            logged_model_id=request.logged_model_id,
            key=request.key,
            description=request.description,
            tags=request.tags,
            updated_at=now,
            unsafe=described.unsafe,
        )
        records.add_version(tx, model.id, version)
        records.change_model(tx, model.id, updated_at=now)
        ctx.emit(
            "model.version_registered",
            f"models/{version.model}/{version.number}",
            project=version.project,
            model=version.model,
            number=version.number,
            run_id=version.run_id,
            artifact=version.artifact,
            format=version.format,
            metrics=version.metrics,
            source=version.source,
            description=version.description,
            tags=version.tags,
            unsafe=version.unsafe,
        )
        return version


class _Described(msgspec.Struct, frozen=True):
    format: ModelFormat | None
    signature: Signature | None
    raw_signature: dict[str, Any] | None
    unsafe: tuple[str, ...]


def _check(request: RegisterVersion) -> None:
    if request.run_id is not None:
        check_id(request.run_id)
    if request.signature is not None and not request.signature.inputs:
        raise Invalid(
            "A model version needs a signature with at least one input.",
            next_step="Without it, serving could check nothing: describe the columns it takes, or give no signature.",
        )
    if request.key is not None and not request.key:
        raise Invalid("A key is not empty.", next_step="Leave it out to register another version each time.")
    check_text(request.key or "", "The key", 250)
    check_text(request.logged_model_id or "", "The id of the logged model", 50)
    check_text(request.source, "The source", _LONGEST_SOURCE)
    check_text(request.run_link, "The link to the run", _LONGEST_SOURCE)
    check_text(request.description, "The description")
    for key, value in request.tags.items():
        check_tag(key, value)


def _read_files(ctx: Context, request: RegisterVersion) -> _Described:
    if request.artifact is None:
        _rely_on(ctx, {"the reference profile": request.reference_profile})
        # Nothing can be loaded from here, so nothing can be unsafe; whoever loads looks again.
        return _Described(request.format, request.signature, None, ())
    files = {path: entry.digest for path, entry in ctx.repository.trees.walk(request.artifact)}
    paths = list(files)
    said = {f"{path!r}": digest for path, digest in files.items()}
    _rely_on(ctx, {**said, "the artifact": request.artifact, "the reference profile": request.reference_profile})
    format_ = request.format or detect_format(paths)
    mlmodel, problem = _read_mlmodel(ctx, request.artifact, paths)
    signature, raw = (None, None) if mlmodel is None else signature_of_mlmodel(mlmodel)
    return _Described(format_, request.signature or signature, raw, unsafe_because(format_, paths, mlmodel, problem))


def _rely_on(ctx: Context, named: dict[str, str | None]) -> None:
    """Look whether objects are there, and keep them so until the version that names them is registered."""
    wanted = {what: digest for what, digest in named.items() if digest is not None}
    for what, size in zip(wanted, ctx.repository.objects.sizes(list(wanted.values())), strict=True):
        if size is None:
            raise NotFound(
                f"There is no object {wanted[what]} in the store, for {what}.",
                next_step="Upload its bytes, then register the version.",
                object=wanted[what],
            )


def _read_mlmodel(ctx: Context, artifact: str, paths: list[str]) -> tuple[dict[str, Any] | None, str]:
    if MLMODEL not in paths:
        return None, ""
    try:
        return read_mlmodel(ctx.repository.trees.get(artifact, MLMODEL)), ""
    except Invalid as error:
        return None, error.message


def check_loadable(ctx: Context, version: ModelVersion) -> str:
    """Return the tree of a version whose bytes may be loaded; call it before any loader touches them.

    The files are looked at again: what was written down at registration is not what is loaded.

    Args:
        ctx: Where the bytes are.
        version: The version.

    Raises:
        Forbidden: Loading could run any code, and no person answers for it.
        Conflict: The files are not in the store.
    """
    artifact = version.files
    paths = [path for path, _ in ctx.repository.trees.walk(artifact)]
    mlmodel, problem = _read_mlmodel(ctx, artifact, paths)
    reasons = unsafe_because(version.format, paths, mlmodel, problem)
    if reasons and version.trust is None:
        raise Forbidden(
            f"Loading version {version.number} of {version.model!r} could run any code: {'; '.join(reasons[:3])}.",
            next_step="Register it in a format such as ONNX; or look where it comes from, and let a person answer for "
            f"it: `undrift models trust {version.model} {version.number} --reason ...`.",
            reasons=list(reasons),
        )
    return artifact


def find_version_by_id(ctx: Context, project: str, model_id: str, number: int) -> ModelVersion:
    """Return a version of the model with this id, which stays when the model is renamed: addresses of bytes name it.

    Raises:
        NotFound: There is no such model or version in this project.
    """
    ctx.policy.check(ctx.actor, "registry:read")
    with ctx.read() as tx:
        model = records.find_model_by_id(tx, project, model_id)
        if model is None:
            raise NotFound(f"There is no registered model {model_id}.", next_step="Look at the version's source.")
        return find_version_numbered(tx, model, number)


@operation("registry.find_version", permission="registry:read")
def find_version(ctx: Context, request: FindVersion) -> ModelVersion:
    """Return a version by its number, or the one an alias points to, now or at an earlier moment.

    Raises:
        NotFound: There is no such model, version or alias.
    """
    if (request.number is None) == (request.alias is None):
        raise Invalid("Ask for a version by its number or by an alias, one of the two.")
    with ctx.read() as tx:
        model = find_model_named(tx, request.project, request.model)
        if request.alias is None:
            assert request.number is not None  # noqa: S101 - said by the check above, in words mypy understands
            return find_version_numbered(tx, model, request.number)
        if request.alias.lower() == "latest":
            newest = records.list_versions(tx, model.id, limit=1, created_by=request.as_of)
            if newest:
                return newest[0]
            raise NotFound(f"Model {model.name!r} has no version.", next_step="Register one first.", model=model.name)
        move = alias_move_at(tx, model, request.alias, request.as_of)
        if move is None or move.number is None:
            raise NotFound(
                f"Model {model.name!r} had no alias {request.alias[:80]!r} at that time.",
                next_step="`undrift models history` tells where its aliases were.",
                alias=request.alias[:255],
            )
        return find_version_numbered(tx, model, move.number)


@operation("registry.list_versions", permission="registry:read")
def list_versions(ctx: Context, request: ListVersions) -> list[ModelVersion]:
    """List the versions of a model, newest first."""
    with ctx.read() as tx:
        model = find_model_named(tx, request.project, request.model)
        return records.list_versions(tx, model.id, limit=max(1, min(request.limit, 1000)))


@operation("registry.describe_version", permission="registry:write", emits=("model.version_described",))
def describe_version(ctx: Context, request: DescribeVersion) -> ModelVersion:
    """Say what is special about a version.

    Raises:
        NotFound: There is no such model or version.
        Invalid: The text cannot be kept.
    """
    check_text(request.description, "The description")
    with ctx.begin() as tx:
        model = find_model_named(tx, request.project, request.model, lock=True)
        version = find_version_numbered(tx, model, request.number)
        now = ctx.now()
        records.change_version(tx, version.id, description=request.description, updated_at=now)
        ctx.emit(
            "model.version_described",
            f"models/{version.model}/{version.number}",
            project=version.project,
            model=version.model,
            number=version.number,
            description=request.description,
        )
        return msgspec.structs.replace(version, description=request.description, updated_at=now)


@operation("registry.tag_version", permission="registry:write", emits=("model.version_tagged",))
def tag_version(ctx: Context, request: TagVersion) -> None:
    """Set tags of a version.

    Raises:
        NotFound: There is no such model or version.
        Invalid: A tag cannot be kept.
    """
    if not request.tags:
        raise Invalid("There is no tag to set.")
    for key, value in request.tags.items():
        check_tag(key, value)
    with ctx.begin() as tx:
        model = find_model_named(tx, request.project, request.model, lock=True)
        version = find_version_numbered(tx, model, request.number)
        records.set_version_tags(tx, version.id, request.tags)
        ctx.emit(
            "model.version_tagged",
            f"models/{version.model}/{version.number}",
            project=version.project,
            model=version.model,
            number=version.number,
            tags=request.tags,
        )


@operation("registry.untag_version", permission="registry:write", emits=("model.version_untagged",))
def untag_version(ctx: Context, request: UntagVersion) -> None:
    """Remove a tag of a version; one that is not there is gone already.

    Raises:
        NotFound: There is no such model or version.
    """
    with ctx.begin() as tx:
        model = find_model_named(tx, request.project, request.model, lock=True)
        version = find_version_numbered(tx, model, request.number)
        if records.remove_version_tag(tx, version.id, request.key):
            ctx.emit(
                "model.version_untagged",
                f"models/{version.model}/{version.number}",
                project=version.project,
                model=version.model,
                number=version.number,
                key=request.key,
            )


@operation("registry.retire_version", permission="registry:promote", emits=("model.version_retired",))
def retire_version(ctx: Context, request: RetireVersion) -> ModelVersion:
    """Say that a version is not to be used any more; it stays for the record, and never comes back.

    Raises:
        NotFound: There is no such model or version.
        Conflict: An alias still points to it.
        Invalid: There is no reason.
    """
    if not request.reason.strip():
        raise Invalid("A version is not retired without a reason.", next_step="Say why, for those who look later.")
    check_text(request.reason, "The reason")
    with ctx.begin() as tx:
        model = find_model_named(tx, request.project, request.model, lock=True)
        version = find_version_numbered(tx, model, request.number)
        if version.aliases:
            raise Conflict(
                f"Version {version.number} of {version.model!r} is still the {', '.join(version.aliases)}.",
                next_step="Move the alias to another version first.",
            )
        if version.state == "retired":
            return version
        now = ctx.now()
        records.change_version(tx, version.id, state="retired", state_reason=request.reason, updated_at=now)
        ctx.emit(
            "model.version_retired",
            f"models/{version.model}/{version.number}",
            project=version.project,
            model=version.model,
            number=version.number,
            reason=request.reason,
        )
        return msgspec.structs.replace(version, state="retired", state_reason=request.reason, updated_at=now)


@operation(
    "registry.delete_version", permission="registry:delete", emits=("model.version_deleted", "model.alias_removed")
)
def delete_version(ctx: Context, request: DeleteVersion) -> None:
    """Let a version not be found any more; its aliases go, its number stays taken, histories still tell of it.

    Raises:
        NotFound: There is no such model or version.
    """
    check_text(request.reason, "The reason")
    with ctx.begin() as tx:
        model = find_model_named(tx, request.project, request.model, lock=True)
        version = find_version_numbered(tx, model, request.number)
        for alias in version.aliases:
            remove_alias_of(ctx, tx, model, alias, request.reason or f"Version {version.number} was deleted.", {})
        now = ctx.now()
        # The key is free again: who registers anew under it means a new version.
        records.change_version(tx, version.id, state="deleted", state_reason=request.reason, updated_at=now, key=None)
        records.change_model(tx, model.id, updated_at=now)
        ctx.emit(
            "model.version_deleted",
            f"models/{version.model}/{version.number}",
            project=version.project,
            model=version.model,
            number=version.number,
            run_id=version.run_id,
            artifact=version.artifact,
            reason=request.reason,
        )


@operation("registry.move_stage", permission="registry:promote", emits=("model.stage_moved",))
def move_stage(ctx: Context, request: MoveStage) -> ModelVersion:
    """Put a version into one of the four stages of older MLflow clients; the history keeps who, when and why.

    Raises:
        NotFound: There is no such model or version.
        Invalid: There is no such stage, or nothing to archive for it.
        Conflict: The version is retired.
    """
    stage = check_stage(request.stage)
    check_text(request.reason, "The reason")
    if request.archive_existing and stage not in {"Staging", "Production"}:
        raise Invalid(
            "Only versions in stage Staging or Production are archived when another one comes.",
            next_step=f"Move this one to {stage} without archiving.",
        )
    with ctx.begin() as tx:
        model = find_model_named(tx, request.project, request.model, lock=True)
        version = find_version_numbered(tx, model, request.number)
        if version.state == "retired" and stage in {"Staging", "Production"}:
            raise retired(version)
        now = ctx.now()
        moves = []
        if request.archive_existing:
            others = records.list_stage_moves(tx, model.id, stage=stage, limit=100_000)
            moves = [
                _stage_move(ctx, one, "Archived", f"Version {version.number} took its place.")
                for one in others
                if one.number != version.number
            ]
        if version.stage != stage:
            before = records.list_stage_moves(tx, model.id, number=version.number, limit=1)
            moves.append(_stage_move(ctx, before[0] if before else version, stage, request.reason))
        for move in moves:
            other = find_version_numbered(tx, model, move.number)
            records.add_stage_move(tx, other.id, move)
            records.change_version(tx, other.id, updated_at=now)
            ctx.emit(
                "model.stage_moved",
                f"models/{model.name}/{move.number}",
                project=model.project,
                model=model.name,
                number=move.number,
                stage=move.stage,
                previous=move.previous,
                reason=move.reason,
            )
        if moves:
            records.change_model(tx, model.id, updated_at=now)
        return find_version_numbered(tx, model, version.number)


def _stage_move(ctx: Context, before: StageMove | ModelVersion, stage: Any, reason: str) -> StageMove:
    since = before.at if isinstance(before, StageMove) else before.created_at
    return StageMove(
        id=new_id(),
        project=before.project,
        model=before.model,
        number=before.number,
        stage=stage,
        previous=before.stage,
        at=max(ctx.now(), since),
        actor=ctx.actor.name,
        reason=reason,
    )


@operation("registry.stage_history", permission="registry:read")
def stage_history(ctx: Context, request: ListVersions) -> list[StageMove]:
    """List every move of every version of a model between stages, newest first."""
    with ctx.read() as tx:
        model = find_model_named(tx, request.project, request.model)
        return records.list_stage_moves(tx, model.id, limit=max(1, min(request.limit, 1000)))


@operation("registry.trust_version", permission="registry:trust", emits=("model.version_trusted",))
def trust_version(ctx: Context, request: TrustVersion) -> ModelVersion:
    """Answer, as a person, for a version whose bytes could run any code when they are loaded.

    Raises:
        NotFound: There is no such model or version.
        Forbidden: A service asks; only people answer for something.
        Invalid: There is no reason.
        Conflict: The version is retired, or its files are not in the store: nobody could say what they are.
    """
    if not request.reason.strip():
        raise Invalid("Nobody trusts without a reason.", next_step="Say where the files come from, and who made them.")
    check_text(request.reason, "The reason")
    with ctx.begin() as tx:
        model = find_model_named(tx, request.project, request.model, lock=True)
        version = find_version_numbered(tx, model, request.number)
        if ctx.actor.kind != "person":
            raise Forbidden(
                "Only a person can answer for what a file may do.", next_step="Ask a colleague to look at it."
            )
        if version.state == "retired":
            raise retired(version)
        if version.trust is not None:
            return version
        artifact = version.files
        trust = Trust(ctx.actor.name, ctx.now(), request.reason)
        records.change_version(tx, version.id, trust=trust)
        ctx.emit(
            "model.version_trusted",
            f"models/{version.model}/{version.number}",
            project=version.project,
            model=version.model,
            number=version.number,
            artifact=artifact,
            unsafe=version.unsafe,
            reason=request.reason,
        )
        return msgspec.structs.replace(version, trust=trust)
