"""The bytes of MLflow's protocol: its proxied artifacts, and the addresses from which its page shows files.

A proxied path names a run or a logged model, and a file below it::

    <experiment id>/<run id>/artifacts/<path>
    <experiment id>/models/<logged model id>/artifacts/<path>
    registered-models/<registered model id>/<version number>/<path>     (read only: a version does not change)

The ids are looked up, never joined to a place, and have to belong together. Anything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec

from undrift import registry
from undrift.core.context import Context
from undrift.core.errors import Conflict, Invalid, NotFound, TooLarge, UndriftError
from undrift.core.ids import new_id
from undrift.hub.artifacts import ByteRoutes, Call, Outgoing, outgoing, query_of
from undrift.hub.mlflow.errors import NOT_IMPLEMENTED, Refused, renamed
from undrift.hub.mlflow.routes import Request, Route
from undrift.hub.mlflow.words import ROOT
from undrift.tracking.artifacts import (
    ArtifactEntry,
    DeleteArtifacts,
    FindArtifact,
    ListArtifacts,
    PutArtifact,
    PutArtifacts,
    RootOwner,
    check_artifact_path,
    delete_artifacts,
    find_artifact,
    list_artifacts,
    owner_of,
    put_artifacts,
    put_stored,
)

__all__ = ["Place", "byte_routes", "parse_place"]

_OF_RUN = re.compile(r"([0-9]{1,18})/([0-9a-f]{32})/artifacts(?:/(.*))?", re.DOTALL)
_OF_MODEL = re.compile(r"([0-9]{1,18})/models/(m-[0-9a-f]{32})/artifacts(?:/(.*))?", re.DOTALL)
_OF_VERSION = re.compile(r"registered-models/([0-9a-f]{32})/([0-9]{1,9})(?:/(.*))?", re.DOTALL)
_PAGE_UPLOAD_BYTES = 10 << 20
_MOST_PARTS = 10_000


class Place(msgspec.Struct, frozen=True):
    """What a proxied path names.

    Attributes:
        root: The run or the logged model; empty for a version of a registered model.
        path: The path below it; empty for all there is.
        experiment: The experiment that the path says it is in.
        model_id: The registered model.
        number: Its version.
    """

    root: str
    path: str
    experiment: int = -1
    model_id: str = ""
    number: int = 0


def parse_place(path: str) -> Place:
    """Return what a proxied path names.

    Raises:
        Invalid: It is not one of the three forms, or the path below is not safe.
    """
    for pattern in (_OF_RUN, _OF_MODEL):
        if found := pattern.fullmatch(path):
            return Place(found[2], _below(found[3]), experiment=int(found[1]))
    if found := _OF_VERSION.fullmatch(path):
        return Place("", _below(found[3]), model_id=found[1], number=int(found[2]))
    raise Invalid(
        f"Invalid path: {path[:80]!a} is not where artifacts are.",
        next_step="They are at <experiment id>/<run id>/artifacts, <experiment id>/models/<logged model id>/artifacts "
        "and registered-models/<id>/<version>.",
    )


def byte_routes(routes: ByteRoutes) -> tuple[Route, ...]:
    """Return the lines of MLflow's table that are about bytes.

    Args:
        routes: The hub's own protocol for bytes, whose threads are used.
    """
    to = _Handlers(routes)

    def line(method: str, path: str, handler: Callable[..., Awaitable[None]], **given: Any) -> Route:
        async def answer(request: Request) -> None:
            call = Call(request.scope, request.receive, request.send, routes)
            with renamed(Conflict, "INVALID_PARAMETER_VALUE"):
                try:
                    await handler(call, request.project, **request.parameters)
                except UndriftError:
                    if not call.begun:
                        await call.drain()
                    raise

        permission = "tracking:read" if method == "GET" else "tracking:write"
        return Route((method,), path, permission, answer, **given)

    proxied = "2.0/mlflow-artifacts"
    return (
        line("GET", "2.0/mlflow/artifacts/list", to.list_of_run),
        line("GET", "2.0/mlflow/logged-models/{model}/artifacts/directories", to.list_of_model),
        line("GET", f"{proxied}/artifacts", to.list),
        line("GET", f"{proxied}/artifacts/{{path:path}}", to.get),
        line("PUT", f"{proxied}/artifacts/{{path:path}}", to.put, any_body=True),
        line("DELETE", f"{proxied}/artifacts/{{path:path}}", to.delete),
        line("POST", f"{proxied}/mpu/create/{{path:path}}", to.mpu_create),
        line("POST", f"{proxied}/mpu/complete/{{path:path}}", to.mpu_complete),
        line("POST", f"{proxied}/mpu/abort/{{path:path}}", to.mpu_abort),
        line("PUT", f"{proxied}/mpu/part/{{upload}}/{{number}}", to.mpu_part, any_body=True),
        line("GET", f"{proxied}/presigned/{{path:path}}", to.presigned),
        line("POST", "2.0/mlflow/artifacts/presigned-upload-url", to.no_url),
        line("POST", "2.0/mlflow/artifacts/presigned-download-url", to.no_url),
        line("GET", "/get-artifact", to.get_of_run),
        line("GET", "/model-versions/get-artifact", to.get_of_version),
        line(
            "GET",
            "2.0/mlflow/logged-models/{model}/artifacts/files",
            to.get_of_model,
            page_only=True,
        ),
        line("POST", "2.0/mlflow/upload-artifact", to.put_from_page, page_only=True, any_body=True),
    )


class _Handlers:
    """What answers; each checks what it needs to know of the ids before it touches a byte."""

    def __init__(self, routes: ByteRoutes) -> None:
        self._routes = routes

    # -- proxied artifacts --------------------------------------------------------------------------------------------

    async def put(self, call: Call, project: str, path: str) -> None:
        place = _writable(parse_place(path))
        await call.incoming.begin()
        if not call.incoming.whole:
            # Who sends much should learn first whether it is wanted.
            await call.read(lambda ctx: _check(ctx, project, place, writing=True))
        await call.run(lambda ctx: _put(ctx, project, place, call.incoming.pieces()))
        await call.answer()

    async def get(self, call: Call, project: str, path: str) -> None:
        place = parse_place(path)
        await call.stream(await call.read(lambda ctx: _get(ctx, project, place, _spans(call))))

    async def list(self, call: Call, project: str) -> None:
        path = query_of(call.scope).get("path", "").strip("/")
        files = await call.read(lambda ctx: _list(ctx, project, parse_place(path))) if path else []
        await call.answer({"files": files} if files else None)

    async def delete(self, call: Call, project: str, path: str) -> None:
        place = _writable(parse_place(path.rstrip("/")))

        def work(ctx: Context) -> None:
            _check(ctx, project, place)
            delete_artifacts(ctx, DeleteArtifacts(place.root, place.path))

        await call.read(work)
        await call.answer()

    # -- multipart: the parts come to this hub ------------------------------------------------------------------------

    async def mpu_create(self, call: Call, project: str, path: str) -> None:
        asked = await call.incoming.json(_Create)
        place = _target(path, asked.path)
        if not 1 <= asked.num_parts <= _MOST_PARTS:
            raise Invalid(f"Invalid value {asked.num_parts} for parameter 'num_parts' supplied: 1 to {_MOST_PARTS}.")

        def work(ctx: Context) -> str:
            _check(ctx, project, place, writing=True)
            self._routes.sweep(ctx)
            name = new_id(ctx.now())
            ctx.repository.uploads.begin(name, _purpose(project, place), ctx.now())
            return name

        name = await call.read(work)
        prefix = call.scope["path"].partition("/mlflow-artifacts/")[0]
        base = f"{call.scope.get('scheme', 'http')}://{call.header(b'host')}{prefix}/mlflow-artifacts/mpu/part/{name}"
        credentials = [
            {"url": f"{base}/{number}", "part_number": number, "headers": {}}
            for number in range(1, asked.num_parts + 1)
        ]
        await call.answer({"upload_id": name, "credentials": credentials})

    async def mpu_part(self, call: Call, project: str, upload: str, number: str) -> None:
        def work(ctx: Context, pieces: Iterator[bytes]) -> str:
            ctx.policy.check(ctx.actor, "tracking:write")
            _insist(ctx, upload, f"{project}/")
            return ctx.repository.uploads.put_part(upload, _number(number), pieces).digest

        digest = await call.upload(work)
        await call.answer(headers=[(b"etag", f'"{digest}"'.encode())])

    async def mpu_complete(self, call: Call, project: str, path: str) -> None:
        asked = await call.incoming.json(_Complete, 8 << 20)
        place = _target(path, asked.path)
        parts = sorted(asked.parts, key=lambda part: part.part_number)
        if [part.part_number for part in parts] != list(range(1, len(parts) + 1)):
            raise Invalid("Invalid value for parameter 'parts' supplied: they have to be numbered 1, 2, 3 …")

        def work(ctx: Context) -> None:
            _check(ctx, project, place, writing=True)
            _insist(ctx, asked.upload_id, _purpose(project, place))
            digests = [part.etag.strip('"') for part in parts]
            digest, size = ctx.repository.uploads.complete(asked.upload_id, digests)
            put_artifacts(ctx, PutArtifacts(place.root, (PutArtifact(place.path, digest, size),)))

        await call.run(work)
        await call.answer()

    async def mpu_abort(self, call: Call, project: str, path: str) -> None:
        asked = await call.incoming.json(_Abort)
        place = _target(path, asked.path)

        def work(ctx: Context) -> None:
            ctx.policy.check(ctx.actor, "tracking:write")
            _insist(ctx, asked.upload_id, _purpose(project, place))
            ctx.repository.uploads.abort(asked.upload_id)

        await call.read(work)
        await call.answer()

    async def presigned(self, call: Call, project: str, path: str) -> None:  # noqa: ARG002 - handlers alike
        raise Refused("Presigned URLs are not supported: artifacts come through this hub.", NOT_IMPLEMENTED, 501)

    async def no_url(self, call: Call, project: str) -> None:  # noqa: ARG002 - handlers alike
        raise Invalid("Artifacts are proxied by this hub: there are no presigned URLs.", next_step="Send them to it.")

    # -- without a proxied path ---------------------------------------------------------------------------------------

    async def list_of_run(self, call: Call, project: str) -> None:
        query = query_of(call.scope)
        await self._list(call, project, query.get("run_id") or _required(query, "run_uuid"), query.get("path", ""))

    async def list_of_model(self, call: Call, project: str, model: str) -> None:
        await self._list(call, project, model, query_of(call.scope).get("artifact_directory_path", ""))

    async def _list(self, call: Call, project: str, root: str, path: str) -> None:
        place = Place(root, _below(path))

        def work(ctx: Context) -> dict[str, Any]:
            owner = _check(ctx, project, place)
            above = f"{place.path}/" if place.path else ""
            files = [one | {"path": above + one["path"]} for one in _list(ctx, project, place)]
            of_model = "models/" if root.startswith("m-") else ""
            uri = f"{ROOT}{owner.experiment_id}/{of_model}{root}/artifacts"
            return {"root_uri": uri, "files": files} if files else {"root_uri": uri}

        await call.answer(await call.read(work))

    async def get_of_run(self, call: Call, project: str) -> None:
        query = query_of(call.scope)
        root = query.get("run_id") or _required(query, "run_uuid")
        await self._send(call, project, Place(root, check_artifact_path(_required(query, "path"))))

    async def get_of_model(self, call: Call, project: str, model: str) -> None:
        path = check_artifact_path(_required(query_of(call.scope), "artifact_file_path"))
        await self._send(call, project, Place(model, path))

    async def get_of_version(self, call: Call, project: str) -> None:
        query = query_of(call.scope)
        name, version = _required(query, "name"), _required(query, "version")
        path = check_artifact_path(_required(query, "path"))
        if re.fullmatch(r"[0-9]{1,9}", version) is None:
            raise Invalid("Parameter 'version' must be an integer.")

        def work(ctx: Context) -> Outgoing:
            found = _with_files(registry.find_version(ctx, registry.FindVersion(project, name, int(version))))
            return _from_tree(ctx, found, path, _spans(call))

        await call.stream(await call.read(work))

    async def put_from_page(self, call: Call, project: str) -> None:
        query = query_of(call.scope)
        root = query.get("run_id") or _required(query, "run_uuid")
        place = Place(root, check_artifact_path(_required(query, "path")))
        data = await call.incoming.upto(_PAGE_UPLOAD_BYTES + 1)
        if len(data) > _PAGE_UPLOAD_BYTES:
            raise TooLarge("The file is larger than 10 MiB.", next_step="Upload it with the client.")
        await call.read(lambda ctx: _put(ctx, project, place, iter((data,))))
        await call.answer()

    async def _send(self, call: Call, project: str, place: Place) -> None:
        await call.stream(await call.read(lambda ctx: _get(ctx, project, place, _spans(call))))


class _Create(msgspec.Struct):
    path: str
    num_parts: int = 1


class _Etag(msgspec.Struct):
    part_number: int
    etag: str
    url: str = ""


class _Complete(msgspec.Struct):
    path: str
    upload_id: str
    parts: list[_Etag]


class _Abort(msgspec.Struct):
    path: str
    upload_id: str


def _below(path: str | None) -> str:
    return check_artifact_path(path) if path else ""


def _number(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,9}", text) is None:
        raise Invalid(f"{text[:20]!a} is not a number.")
    return int(text)


def _required(query: Any, name: str) -> str:
    if not query.get(name):
        raise Invalid(
            f"Missing value for required parameter '{name}'. See the API docs for more information about request "
            "parameters."
        )
    return str(query[name])


def _spans(call: Call) -> tuple[str, str, str]:
    return call.header(b"range"), call.header(b"if-range"), call.header(b"if-none-match")


def _writable(place: Place) -> Place:
    if place.model_id:
        raise Invalid("A version of a registered model does not change.", next_step="Register another version.")
    return place


def _target(path: str, local: str) -> Place:
    # Clients send the name of their file with its folders, of whatever system.
    name = local.replace("\\", "/").rpartition("/")[2]
    return _writable(parse_place(f"{path.rstrip('/')}/{name}"))


def _check(ctx: Context, project: str, place: Place, *, writing: bool = False) -> RootOwner:
    """Return whose the place is, when the run or logged model is there, in the experiment that the path says."""
    ctx.policy.check(ctx.actor, "tracking:write" if writing else "tracking:read")
    with ctx.read() as tx:
        owner = owner_of(tx, place.root, writing=writing)
    if owner.project != project or place.experiment not in {-1, owner.experiment_id}:
        where = f"project {project}" if place.experiment == -1 else f"experiment {place.experiment} of {project}"
        raise NotFound(f"There is no {place.root} in {where}.", next_step="Look at its artifact URI.")
    return owner


def _purpose(project: str, place: Place) -> str:
    return f"{project}/{place.root}/{place.path}"


def _insist(ctx: Context, upload: str, purpose: str) -> None:
    begun_for = ctx.repository.uploads.purpose(upload)
    if begun_for != purpose and not (purpose.endswith("/") and begun_for.startswith(purpose)):
        raise Invalid("This upload was begun for another path.", next_step="Begin one for this path.")


def _put(ctx: Context, project: str, place: Place, pieces: Iterator[bytes]) -> None:
    if not place.path:
        raise Invalid("Invalid path: a file needs a name below the artifacts.")
    _check(ctx, project, place, writing=True)
    digest, size = ctx.repository.objects.put_stream(pieces)
    put_stored(ctx, PutArtifacts(place.root, (PutArtifact(place.path, digest, size),)))


def _get(ctx: Context, project: str, place: Place, spans: tuple[str, str, str]) -> Outgoing:
    if place.model_id:
        found = _version_of(ctx, project, place)
        return _from_tree(ctx, found, place.path, spans)
    _check(ctx, project, place)
    if not place.path:
        raise _is_folder(place.path)
    try:
        artifact = find_artifact(ctx, FindArtifact(place.root, place.path))
    except NotFound:
        if list_artifacts(ctx, ListArtifacts(place.root, place.path, limit=1)).entries:
            raise _is_folder(place.path) from None
        raise NotFound(f"No such artifact: {place.path!r}", path=place.path) from None
    needed_by = f"{place.path!r} of {place.root}"
    return outgoing(ctx, artifact.digest, artifact.size_bytes, place.path, spans, needed_by=needed_by)


def _list(ctx: Context, project: str, place: Place) -> list[dict[str, Any]]:
    if place.model_id:
        tree = str(_version_of(ctx, project, place).artifact)
        if place.path:
            try:
                entry = ctx.repository.trees.find(tree, place.path)
            except NotFound:
                return []
            if entry.kind == "blob":
                return []
            tree = entry.digest
        return [
            _file(one.name, one.kind == "tree", one.size_bytes)
            for one in ctx.repository.trees.read(tree, needed_by="a version of a registered model").entries
        ]
    _check(ctx, project, place)
    found: list[ArtifactEntry] = []
    after = ""
    while True:
        page = list_artifacts(ctx, ListArtifacts(place.root, place.path, after=after))
        found.extend(page.entries)
        after = page.next_after
        if not after:
            break
    return [_file(one.path.rpartition("/")[2], one.kind == "folder", one.size_bytes or 0) for one in found]


def _file(name: str, is_dir: bool, size: int) -> dict[str, Any]:
    return {"path": name, "is_dir": True} if is_dir else {"path": name, "is_dir": False, "file_size": size}


def _from_tree(ctx: Context, version: registry.ModelVersion, path: str, spans: tuple[str, str, str]) -> Outgoing:
    if not path:
        raise _is_folder(path)
    try:
        entry = ctx.repository.trees.find(str(version.artifact), path)
    except NotFound:
        raise NotFound(f"No such artifact: {path!r}", path=path) from None
    if entry.kind == "tree":
        raise _is_folder(path)
    needed_by = f"{path!r} of version {version.number} of {version.model}"
    return outgoing(ctx, entry.digest, entry.size_bytes, path, spans, needed_by=needed_by)


def _version_of(ctx: Context, project: str, place: Place) -> registry.ModelVersion:
    return _with_files(registry.find_version_by_id(ctx, project, place.model_id, place.number))


def _with_files(version: registry.ModelVersion) -> registry.ModelVersion:
    if not version.artifact:
        raise NotFound("The files of this version are kept elsewhere: it has no artifacts here.")
    return version


def _is_folder(path: str) -> Invalid:
    return Invalid(f"{path!r} is a folder.", next_step="Name a file in it.")
