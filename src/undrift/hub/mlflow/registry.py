"""Registered models and their versions, as MLflow's clients ask for them.

A client names no location. What it calls the source of a version is one of a few shapes, each of which names something
that this hub keeps, by its id; what is there is bound to the version as an immutable tree, and what is read later is
that tree, whatever becomes of the run. No other field decides whether a source is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Conflict, Invalid, NotFound
from undrift.hub.mlflow.artifacts import Place, parse_place
from undrift.hub.mlflow.errors import NOT_IMPLEMENTED, Refused, renamed
from undrift.hub.mlflow.messages import KeyValue, Message
from undrift.hub.mlflow.routes import Answer, Request, Route, threaded
from undrift.hub.mlflow.words import ROOT, as_pairs, from_pairs, to_ms
from undrift.registry import (
    DeleteModel,
    DeleteVersion,
    DescribeModel,
    DescribeVersion,
    FindModel,
    FindVersion,
    Model,
    ModelSummary,
    ModelVersion,
    MoveAlias,
    MoveStage,
    RegisterModel,
    RegisterVersion,
    RemoveAlias,
    RenameModel,
    SearchModels,
    SearchVersions,
    TagModel,
    TagVersion,
    UntagModel,
    UntagVersion,
    delete_model,
    delete_version,
    describe_model,
    describe_version,
    find_model,
    find_version,
    move_alias,
    move_stage,
    register_model,
    register_version,
    remove_alias,
    rename_model,
    search_models,
    search_versions,
    tag_model,
    tag_version,
    untag_model,
    untag_version,
)
from undrift.tracking import (
    ChangeModel,
    FindLoggedModel,
    LoggedModel,
    SearchLoggedModels,
    change_model,
)
from undrift.tracking import find_model as find_logged_model
from undrift.tracking import search_models as search_logged_models
from undrift.tracking.artifacts import ArtifactTreeOf, RootOwner, artifact_tree, check_artifact_path, owner_of

__all__ = ["ROUTES", "version_as_json"]

_READ = "registry:read"
_WRITE = "registry:write"
_PROMOTE = "registry:promote"
_DELETE = "registry:delete"

_STAGES = ("None", "Staging", "Production", "Archived")
_MOST_KEY = 250
_MOST_VALUE = 100_000
_MOST_SOURCE = 2_000
_MOST_DIGITS = 9
_IS_PROMPT = "mlflow.prompt.is_prompt"
_MODEL_VERSIONS = "mlflow.modelVersions"
_MOST_PAIRS_TEXT = 4_000  # of a tag that grows with every registration

_VERSION = re.compile(r"-?[0-9]{1,30}")
_OF_RUN = re.compile(r"runs:/([0-9a-f]{32})/(.+)", re.DOTALL)
_OF_MODEL = re.compile(r"models:/(m-[0-9a-f]{32})(?:/(.+))?", re.DOTALL)
_OF_ALIAS = re.compile(r"models:/([^/:]+)@([A-Za-z0-9_-]{1,255})")
_OF_VERSION = re.compile(r"models:/([^/:]+)/([A-Za-z0-9]{1,20})")
_PROXIED = re.compile(r"mlflow-artifacts:(?://([^/]+))?/([^/].*)", re.DOTALL)
_PROXIED_HTTP = re.compile(r"https?://([^/]+)(/.*)", re.DOTALL)
_PROXY = "/api/2.0/mlflow-artifacts/artifacts/"


# -- messages ---------------------------------------------------------------------------------------------------------


class Create(Message):
    """A model to make known."""

    name: str
    tags: tuple[KeyValue, ...] = ()
    description: str = ""


class ByName(Message):
    """Which model."""

    name: str


class Rename(Message):
    """A new name."""

    name: str
    new_name: str


class Describe(Message):
    """What a model is for; nothing takes away what was said."""

    name: str
    description: str = ""


class Search(Message):
    """Which models."""

    filter: str = ""
    max_results: int = 100
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class Latest(Message):
    """Of which model, in which stages; in all of them when none is named."""

    name: str
    stages: tuple[str, ...] = ()


class SetTag(Message):
    """A tag to set."""

    name: str
    key: str
    value: str = ""


class DeleteTag(Message):
    """A tag to remove."""

    name: str
    key: str


class SetAlias(Message):
    """Where an alias shall point."""

    name: str
    alias: str
    version: str


class ByAlias(Message):
    """Which alias."""

    name: str
    alias: str


class CreateVersion(Message):
    """A version to register, and where its files are."""

    name: str
    source: str
    run_id: str = ""
    tags: tuple[KeyValue, ...] = ()
    run_link: str = ""
    description: str = ""
    model_id: str = ""


class ByVersion(Message):
    """Which version."""

    name: str
    version: str


class DescribeOne(Message):
    """What is special about a version."""

    name: str
    version: str
    description: str = ""


class Transition(Message):
    """Into which stage a version goes."""

    name: str
    version: str
    stage: str
    archive_existing_versions: bool = False


class SearchAll(Message):
    """Which versions."""

    filter: str = ""
    max_results: int = 200_000
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class SetVersionTag(Message):
    """A tag to set."""

    name: str
    version: str
    key: str
    value: str = ""


class DeleteVersionTag(Message):
    """A tag to remove."""

    name: str
    version: str
    key: str


# -- words ------------------------------------------------------------------------------------------------------------


def version_as_json(version: ModelVersion) -> dict[str, Any]:
    """Return a version as clients know it."""
    said: dict[str, Any] = {
        "name": version.model,
        "version": str(version.number),
        "creation_timestamp": to_ms(version.created_at),
        "last_updated_timestamp": to_ms(version.updated_at or version.created_at),
        "user_id": version.created_by,
        "current_stage": version.stage,
        "description": version.description,
        "source": version.source,
        "run_id": version.run_id,
        "run_link": version.run_link,
        # It is bound to bytes that are there: nothing is pending.
        "status": "READY",
        "status_message": f"Retired: {version.state_reason}" if version.state == "retired" else None,
        "tags": as_pairs(version.tags),
        "aliases": list(version.aliases),
        "model_id": version.logged_model_id,
    }
    return _said(said)


def _said(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value not in (None, [])}


def _model_as_json(model: Model, summary: ModelSummary | None = None) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": model.name,
        "creation_timestamp": to_ms(model.created_at),
        "last_updated_timestamp": to_ms(model.updated_at or model.created_at),
        "description": model.description or None,
        "tags": as_pairs(model.tags),
    }
    if summary is not None:
        said["latest_versions"] = [version_as_json(one) for one in summary.latest]
        said["aliases"] = [
            {"alias": alias, "version": str(number)} for alias, number in sorted(summary.aliases.items())
        ]
    return _said(said)


@contextmanager
def _named(name: str, version: str = "") -> Iterator[None]:
    """Say in MLflow's words that a model or a version is not there."""
    try:
        yield
    except NotFound as error:
        if "version" in error.details:
            raise _no_version(name, version) from error
        if "model" in error.details:
            raise NotFound(f"Registered Model with name={name[:250]} not found", next_step=error.next_step) from error
        raise


def _no_version(name: str, version: str) -> NotFound:
    return NotFound(f"Model Version (name={name[:250]}, version={version[:30]}) not found")


def _number(name: str, version: str) -> int:
    if _VERSION.fullmatch(version) is None:
        raise Invalid(f"Parameter 'version' must be an integer, got '{version[:80]}'.")
    if len(version) > _MOST_DIGITS:
        raise _no_version(name, version)
    return int(version)


def _check_name(name: str) -> None:
    if "/" in name or ":" in name:
        raise Invalid(f"Invalid model name '{name[:250]}'. Names cannot contain '/' or ':'.")


def _check_tags(tags: Iterable[KeyValue]) -> dict[str, str]:
    checked = from_pairs(tags)
    for key, value in checked.items():
        for what, text, most in (("key", key, _MOST_KEY), ("value", value, _MOST_VALUE)):
            if len(text) > most:
                raise Invalid(f"'{what}' exceeds the maximum length of {most} characters")
    return checked


def _refuse_prompt(tags: dict[str, str]) -> None:
    if tags.get(_IS_PROMPT, "").lower() == "true":
        raise Refused(
            "undrift keeps models; prompts, which MLflow keeps as models with a tag, it does not support.",
            NOT_IMPLEMENTED,
            501,
            next_step="Use MLflow's own server for prompts.",
        )


# -- models -----------------------------------------------------------------------------------------------------------


def _create(ctx: Context, project: str, asked: Create) -> Any:
    _check_name(asked.name)
    tags = _check_tags(asked.tags)
    _refuse_prompt(tags)
    try:
        made = register_model(
            ctx, RegisterModel(project, asked.name, description=asked.description, tags=tags, only_new=True)
        )
    except Conflict as error:
        raise _taken(asked.name) from error
    return {"registered_model": _model_as_json(made)}


def _taken(name: str) -> Refused:
    return Refused(f"Registered Model (name={name[:250]}) already exists.", "RESOURCE_ALREADY_EXISTS")


def _rename(ctx: Context, project: str, asked: Rename) -> Any:
    _check_name(asked.new_name)
    with _named(asked.name):
        try:
            changed = rename_model(ctx, RenameModel(project, asked.name, asked.new_name))
        except Conflict as error:
            raise _taken(asked.new_name) from error
    return _get(ctx, project, ByName(changed.name))


def _describe(ctx: Context, project: str, asked: Describe) -> Any:
    with _named(asked.name):
        describe_model(ctx, DescribeModel(project, asked.name, asked.description))
    return _get(ctx, project, ByName(asked.name))


def _delete(ctx: Context, project: str, asked: ByName) -> None:
    with _named(asked.name):
        delete_model(ctx, DeleteModel(project, asked.name))


def _get(ctx: Context, project: str, asked: ByName) -> Any:
    with _named(asked.name):
        found = find_model(ctx, FindModel(project, asked.name))
    return {"registered_model": _model_as_json(found.model, found)}


def _search(ctx: Context, project: str, asked: Search) -> Any:
    page = search_models(
        ctx, SearchModels(project, asked.filter, tuple(asked.order_by), asked.max_results, asked.page_token)
    )
    said: dict[str, Any] = {}
    if page.models:
        said["registered_models"] = [_model_as_json(one.model, one) for one in page.models]
    if page.next_page_token:
        said["next_page_token"] = page.next_page_token
    return said


def _latest(ctx: Context, project: str, asked: Latest) -> Any:
    known = {stage.lower(): stage for stage in _STAGES}
    for stage in asked.stages:
        if stage.lower() not in known:
            raise Invalid(
                f"Invalid Model Version stage: {stage[:80]}. Value must be one of {', '.join(_STAGES)}.",
            )
    wanted = {known[stage.lower()] for stage in asked.stages} or set(_STAGES)
    with _named(asked.name):
        found = find_model(ctx, FindModel(project, asked.name))
    versions = [version_as_json(one) for one in found.latest if one.stage in wanted]
    return {"model_versions": versions} if versions else {}


def _set_tag(ctx: Context, project: str, asked: SetTag) -> None:
    tags = _check_tags([KeyValue(asked.key, asked.value)])
    with _named(asked.name):
        tag_model(ctx, TagModel(project, asked.name, tags))


def _delete_tag(ctx: Context, project: str, asked: DeleteTag) -> None:
    with _named(asked.name):
        untag_model(ctx, UntagModel(project, asked.name, asked.key))


def _set_alias(ctx: Context, project: str, asked: SetAlias) -> None:
    number = _number(asked.name, asked.version)
    with _named(asked.name, asked.version), renamed(Conflict, "INVALID_PARAMETER_VALUE"):
        move_alias(ctx, MoveAlias(project, asked.name, asked.alias, number, reason=""))


def _delete_alias(ctx: Context, project: str, asked: ByAlias) -> None:
    with _named(asked.name):
        remove_alias(ctx, RemoveAlias(project, asked.name, asked.alias))


def _get_alias(ctx: Context, project: str, asked: ByAlias) -> Any:
    with _named(asked.name):
        find_model(ctx, FindModel(project, asked.name))
    try:
        found = find_version(ctx, FindVersion(project, asked.name, alias=asked.alias))
    except NotFound as error:
        if asked.alias.lower() == "latest":  # which no model has as an alias: it has no version
            raise NotFound(f"Latest version not found for model {asked.name[:250]}.") from error
        raise Invalid(f"Registered model alias {asked.alias[:255]} not found.") from error
    return {"model_version": version_as_json(found)}


# -- where files of a version come from -------------------------------------------------------------------------------


class _Origin(msgspec.Struct, frozen=True):
    """What a source names.

    Attributes:
        source: As it is told from now on.
        artifact: The tree of its files.
        run_id: The run that made them.
        logged_model: The logged model that they are.
        version: The version that is copied.
    """

    source: str
    artifact: str
    run_id: str | None = None
    logged_model: LoggedModel | None = None
    version: ModelVersion | None = None


def _bad(source: str, reason: str) -> NoReturn:
    raise Invalid(
        f"Invalid model version source: '{source[:200]}'. {reason}",
        next_step="Name what this hub keeps: runs:/<run id>/<path>, models:/<logged model id>, "
        f"models:/<name>/<version> or an artifact URI below {ROOT}.",
    )


def _origin(ctx: Context, project: str, asked: CreateVersion, host: str, prefix: str) -> _Origin:
    source = asked.source
    if len(source) > _MOST_SOURCE:
        _bad(source, f"It has more than {_MOST_SOURCE} characters.")
    try:
        if found := _OF_RUN.fullmatch(source):
            return _from_place(ctx, project, asked, Place(found[1], check_artifact_path(found[2])))
        if found := _OF_MODEL.fullmatch(source):
            path = check_artifact_path(found[2]) if found[2] else ""
            return _from_place(ctx, project, asked, Place(found[1], path))
        if (place := _proxied(source, host, prefix)) is not None:
            return _from_place(ctx, project, asked, place)
    except Invalid as error:
        if error.message.startswith("Invalid model version source"):
            raise
        _bad(source, error.message)
    if found := _OF_ALIAS.fullmatch(source):
        return _from_version(ctx, project, asked, found[1], alias=found[2])
    if found := _OF_VERSION.fullmatch(source):
        return _from_version(ctx, project, asked, found[1], word=found[2])
    _bad(source, "It is not where this hub keeps models, and clients name no other location.")


def _proxied(source: str, host: str, prefix: str) -> Place | None:
    path = None
    if (found := _PROXIED.fullmatch(source)) and found[1] in (None, host):
        path = found[2]
    elif (found := _PROXIED_HTTP.fullmatch(source)) and found[1] == host:
        before = f"{prefix}{_PROXY}"
        path = found[2][len(before) :] if found[2].startswith(before) else None
    if path is None:
        return None
    place = parse_place(path)
    if place.model_id:
        _bad(source, "To copy a version, name it as models:/<name>/<version>.")
    return place


def _from_place(ctx: Context, project: str, asked: CreateVersion, place: Place) -> _Origin:
    owner = _owner(ctx, project, asked.source, place.root)
    if place.experiment not in {-1, owner.experiment_id}:
        _bad(asked.source, f"There is no {place.root} in experiment {place.experiment}.")
    if place.root.startswith("m-"):
        return _from_model(ctx, project, asked, place.root, place.path)
    if asked.model_id:
        _bad(asked.source, "The model_id request parameter must identify the resource that contains the source.")
    if asked.run_id not in {"", place.root}:
        _bad(asked.source, "The run_id request parameter must identify the resource that contains the source.")
    if (tree := _tree(ctx, place.root, place.path)) is not None:
        return _Origin(asked.source, tree, run_id=place.root)
    # Models are kept beside their run, and people still name them below it.
    name, _, below = place.path.partition("/")
    model = _model_of(ctx, project, owner, place.root, name)
    if model is not None and (tree := _tree(ctx, model.id, below)) is not None:
        return _Origin(asked.source, tree, run_id=place.root, logged_model=model)
    _bad(asked.source, "There is nothing at it.")


def _owner(ctx: Context, project: str, source: str, root: str) -> RootOwner:
    with suppress(NotFound), ctx.read() as tx:
        owner = owner_of(tx, root)
        if owner.project == project:
            return owner
    _bad(source, f"There is no {root} in project {project}.")


def _tree(ctx: Context, root: str, path: str) -> str | None:
    try:
        return artifact_tree(ctx, ArtifactTreeOf(root, path)).digest
    except NotFound:
        return None


def _model_of(ctx: Context, project: str, owner: RootOwner, run_id: str, name: str) -> LoggedModel | None:
    if not name or set(name) & set("/:.%\"'`\\"):
        return None
    asked = SearchLoggedModels(
        project, (owner.experiment_id,), filter=f"source_run_id = '{run_id}' AND name = '{name}'", limit=1
    )
    found = search_logged_models(ctx, asked).models
    return found[0] if found else None


def _from_model(ctx: Context, project: str, asked: CreateVersion, model_id: str, path: str) -> _Origin:
    if asked.model_id not in {"", model_id}:
        _bad(asked.source, "The model_id request parameter must identify the resource that contains the source.")
    try:
        model = find_logged_model(ctx, FindLoggedModel(project, model_id))
    except NotFound:
        _bad(asked.source, f"Logged model {model_id} is deleted.")
    if asked.run_id and model.source_run_id not in {"", asked.run_id}:
        _bad(asked.source, "The run_id request parameter must identify the run that made the logged model.")
    run_id = asked.run_id or model.source_run_id
    if run_id:
        _check_run(ctx, project, asked.source, run_id)
    if (tree := _tree(ctx, model_id, path)) is None:
        _bad(asked.source, "There is nothing at it.")
    return _Origin(asked.source, tree, run_id=run_id or None, logged_model=model)


def _check_run(ctx: Context, project: str, source: str, run_id: str) -> None:
    if re.fullmatch(r"[0-9a-f]{32}", run_id) is None:
        _bad(source, "The run_id request parameter is not the id of a run.")
    _owner(ctx, project, source, run_id)


def _from_version(
    ctx: Context, project: str, asked: CreateVersion, name: str, *, alias: str | None = None, word: str = ""
) -> _Origin:
    try:
        if word.isdigit() and len(word) <= _MOST_DIGITS:
            found = find_version(ctx, FindVersion(project, name, int(word)))
        elif alias is not None or word.lower() == "latest":
            found = find_version(ctx, FindVersion(project, name, alias=alias or word))
        else:
            staged = [
                one for one in find_model(ctx, FindModel(project, name)).latest if one.stage.lower() == word.lower()
            ]
            if not staged:
                _bad(asked.source, f"Model {name!r} has no version in a stage {word!r}.")
            found = staged[0]
    except NotFound as error:
        _bad(asked.source, error.message)
    given = {"run_id": (asked.run_id, found.run_id), "model_id": (asked.model_id, found.logged_model_id)}
    if any(said and said != known for said, known in given.values()):
        _bad(asked.source, "The run_id and model_id request parameters must match the referenced model version.")
    if found.artifact is None:
        _bad(asked.source, "The files of that version are kept elsewhere.")
    return _Origin(f"models:/{found.model}/{found.number}", found.artifact, run_id=found.run_id, version=found)


# -- versions ---------------------------------------------------------------------------------------------------------


async def _create_version(request: Request) -> Answer:
    asked = await request.message(CreateVersion)
    host = (request.header(b"host") or "").lower()

    def in_thread(ctx: Context) -> bytes:
        made = _register(ctx, request.project, asked, host, request.prefix)
        return msgspec.json.encode({"model_version": version_as_json(made)})

    return Answer(await request.run(in_thread))


def _register(ctx: Context, project: str, asked: CreateVersion, host: str, prefix: str) -> ModelVersion:
    origin = _origin(ctx, project, asked, host, prefix)
    tags = _check_tags(asked.tags)
    _refuse_prompt(tags)
    logged_model_id = None if origin.logged_model is None else origin.logged_model.id
    more: dict[str, Any] = {}
    if (copied := origin.version) is not None:
        logged_model_id = copied.logged_model_id
        more = {
            "signature": copied.signature,
            "training": copied.training,
            "metrics": copied.metrics,
            "reference_profile": copied.reference_profile,
            "format": copied.format,
        }
    with _named(asked.name):
        made = register_version(
            ctx,
            RegisterVersion(
                project,
                asked.name,
                run_id=origin.run_id,
                artifact=origin.artifact,
                source=origin.source,
                run_link=asked.run_link,
                logged_model_id=logged_model_id,
                description=asked.description,
                tags=tags,
                **more,
            ),
        )
    if logged_model_id is not None:
        # The caller's key names the registration; this may be done again.
        ctx.idempotency_key = None
        with suppress(NotFound):  # deleted since
            _tell_model(ctx, project, logged_model_id, made)
    return made


def _tell_model(ctx: Context, project: str, model_id: str, version: ModelVersion) -> None:
    """Note on a logged model which version was made of it."""
    with ctx.begin():
        model = find_logged_model(ctx, FindLoggedModel(project, model_id))
        pairs: list[Any] = []
        with suppress(msgspec.DecodeError, RecursionError):  # anybody may set tags
            known = msgspec.json.decode(model.tags.get(_MODEL_VERSIONS, "[]"))
            pairs = known if isinstance(known, list) else []
        pair = {"name": version.model, "version": str(version.number)}
        if pair in pairs:
            return
        pairs.append(pair)
        while len(text := msgspec.json.encode(pairs).decode()) > _MOST_PAIRS_TEXT and len(pairs) > 1:
            del pairs[0]
        change_model(ctx, ChangeModel(project, model_id, tags={_MODEL_VERSIONS: text}))


def _describe_version(ctx: Context, project: str, asked: DescribeOne) -> Any:
    number = _number(asked.name, asked.version)
    with _named(asked.name, asked.version):
        changed = describe_version(ctx, DescribeVersion(project, asked.name, number, asked.description))
    return {"model_version": version_as_json(changed)}


def _transition(ctx: Context, project: str, asked: Transition) -> Any:
    number = _number(asked.name, asked.version)
    with _named(asked.name, asked.version), renamed(Conflict, "INVALID_PARAMETER_VALUE"):
        moved = move_stage(ctx, MoveStage(project, asked.name, number, asked.stage, asked.archive_existing_versions))
    return {"model_version": version_as_json(moved)}


def _delete_version(ctx: Context, project: str, asked: ByVersion) -> None:
    number = _number(asked.name, asked.version)
    with _named(asked.name, asked.version):
        delete_version(ctx, DeleteVersion(project, asked.name, number))


def _find(ctx: Context, project: str, asked: ByVersion) -> ModelVersion:
    number = _number(asked.name, asked.version)
    # A model that is not there has no versions either; clients are told so in one way.
    with _named(asked.name, asked.version):
        try:
            return find_version(ctx, FindVersion(project, asked.name, number))
        except NotFound as error:
            raise _no_version(asked.name, asked.version) from error


def _get_version(ctx: Context, project: str, asked: ByVersion) -> Any:
    return {"model_version": version_as_json(_find(ctx, project, asked))}


def _search_versions(ctx: Context, project: str, asked: SearchAll) -> Any:
    page = search_versions(
        ctx, SearchVersions(project, asked.filter, tuple(asked.order_by), asked.max_results, asked.page_token)
    )
    said: dict[str, Any] = {}
    if page.versions:
        said["model_versions"] = [version_as_json(one) for one in page.versions]
    if page.next_page_token:
        said["next_page_token"] = page.next_page_token
    return said


def _download_uri(ctx: Context, project: str, asked: ByVersion) -> Any:
    version = _find(ctx, project, asked)
    if version.artifact is None:
        raise NotFound(
            f"The files of version {version.number} of {version.model} are kept elsewhere.",
            next_step="Register the model again from a run of this hub.",
        )
    model = find_model(ctx, FindModel(project, asked.name)).model
    return {"artifact_uri": f"{ROOT}registered-models/{model.id}/{version.number}"}


def _set_version_tag(ctx: Context, project: str, asked: SetVersionTag) -> None:
    number = _number(asked.name, asked.version)
    tags = _check_tags([KeyValue(asked.key, asked.value)])
    with _named(asked.name, asked.version):
        tag_version(ctx, TagVersion(project, asked.name, number, tags))


def _delete_version_tag(ctx: Context, project: str, asked: DeleteVersionTag) -> None:
    number = _number(asked.name, asked.version)
    with _named(asked.name, asked.version):
        untag_version(ctx, UntagVersion(project, asked.name, number, asked.key))


_MODELS = "2.0/mlflow/registered-models"
_VERSIONS = "2.0/mlflow/model-versions"
ROUTES = (
    Route(("POST",), f"{_MODELS}/create", _WRITE, threaded(Create, _create)),
    Route(("POST",), f"{_MODELS}/rename", _WRITE, threaded(Rename, _rename)),
    Route(("PATCH",), f"{_MODELS}/update", _WRITE, threaded(Describe, _describe)),
    Route(("DELETE",), f"{_MODELS}/delete", _DELETE, threaded(ByName, _delete)),
    Route(("GET",), f"{_MODELS}/get", _READ, threaded(ByName, _get)),
    Route(("GET",), f"{_MODELS}/search", _READ, threaded(Search, _search)),
    Route(("GET", "POST"), f"{_MODELS}/get-latest-versions", _READ, threaded(Latest, _latest)),
    Route(("POST",), f"{_MODELS}/set-tag", _WRITE, threaded(SetTag, _set_tag)),
    Route(("DELETE",), f"{_MODELS}/delete-tag", _WRITE, threaded(DeleteTag, _delete_tag)),
    Route(("POST",), f"{_MODELS}/alias", _PROMOTE, threaded(SetAlias, _set_alias)),
    Route(("DELETE",), f"{_MODELS}/alias", _PROMOTE, threaded(ByAlias, _delete_alias)),
    Route(("GET",), f"{_MODELS}/alias", _READ, threaded(ByAlias, _get_alias)),
    Route(("POST",), f"{_VERSIONS}/create", _WRITE, _create_version),
    Route(("PATCH",), f"{_VERSIONS}/update", _WRITE, threaded(DescribeOne, _describe_version)),
    Route(("POST",), f"{_VERSIONS}/transition-stage", _PROMOTE, threaded(Transition, _transition)),
    Route(("DELETE",), f"{_VERSIONS}/delete", _DELETE, threaded(ByVersion, _delete_version)),
    Route(("GET",), f"{_VERSIONS}/get", _READ, threaded(ByVersion, _get_version)),
    Route(("GET",), f"{_VERSIONS}/search", _READ, threaded(SearchAll, _search_versions)),
    Route(("GET",), f"{_VERSIONS}/get-download-uri", _READ, threaded(ByVersion, _download_uri)),
    Route(("POST",), f"{_VERSIONS}/set-tag", _WRITE, threaded(SetVersionTag, _set_version_tag)),
    Route(("DELETE",), f"{_VERSIONS}/delete-tag", _WRITE, threaded(DeleteVersionTag, _delete_version_tag)),
)
