"""Bytes over HTTP: objects and artifacts stream through the hub; its memory does not follow their size.

=======  ================================  ==========================================================================
PUT      /api/v1/objects/{digest}          one object; refused unless the bytes have the digest
POST     /api/v1/objects/missing           which of these are not there: ``{"digests": [...]}``
POST     /api/v1/objects                   many small objects in one body of frames: digest (32 bytes), size (8 bytes,
                                           big-endian), bytes
GET      /api/v1/artifacts/{root}/{path}   one file; ``Range`` is honoured
POST     /api/v1/artifacts/{root}          many small files, ``{"paths": [...]}``: frames in that order
POST     /api/v1/uploads                   begin, or go on with, an object that comes in parts: ``{"digest": ...}``
GET      /api/v1/uploads/{id}              which parts have arrived
PUT      /api/v1/uploads/{id}/{number}     a part; its digest is the ETag
POST     /api/v1/uploads/{id}/complete     ``{"parts": [digest, ...], "digest": ...}``
DELETE   /api/v1/uploads/{id}              give it up
=======  ================================  ==========================================================================

These stand before the framework, which would hold bodies and rewrite paths: a path is percent-decoded here, once, and
is then what `undrift.tracking.artifacts.check_artifact_path` takes, or refused. Nothing is ever shown inline: what
somebody uploaded is data, whatever it says it is.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import chain
from mimetypes import MimeTypes
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import anyio
import anyio.from_thread
import anyio.to_thread
import msgspec

from undrift.blobs import FRAME_HEAD, PACKED_BYTES, Part, frame
from undrift.core.context import Context
from undrift.core.errors import Invalid, NotFound, TooLarge, Unavailable, UndriftError
from undrift.core.ids import new_id
from undrift.hub.calls import Calls
from undrift.hub.problems import PROBLEM_JSON, WrongMethod, to_problem
from undrift.tracking.artifacts import Artifact, FindArtifact, check_artifact_path, find_artifact, find_artifacts
from undrift.workspace import Workspace

__all__ = ["ByteRoutes", "Call", "Incoming", "Outgoing", "UploadLimit", "decoded_path", "outgoing", "query_of"]

PART_BYTES = 32 << 20
_PIECE_BYTES = 1 << 20
_MOST_FRAMES = 10_000
_MOST_PATHS = 1000
_MOST_FRAMED_BYTES = 64 << 20
_LEFT_AFTER = timedelta(hours=24)
_SWEEP_S = 3600.0
_DRAINED_BYTES = 64 << 20
_DRAINED_S = 5.0
_ROOM_BYTES = 256 << 20  # stays free on the disk of the workspace, for the database
_JSON = (b"content-type", b"application/json")
_NO_STORE = (b"cache-control", b"no-store")
_UPLOADS = re.compile(
    r"(?:PUT|POST) /api/v1/objects(?:/|\Z)|PUT /api/v1/uploads/"
    r"|PUT (?:/projects/[^/]+)?/(?:ajax-)?api/2\.0/mlflow-artifacts/"
    r"|POST (?:/projects/[^/]+)?/ajax-api/2\.0/mlflow/upload-artifact\Z"
)
_TYPES = MimeTypes(filenames=())  # the same on every host
_TEXT = {".json", ".yaml", ".yml", ".md", ".log", ".cfg", ".ini", ".toml", ".csv", ".tsv", ".py", ".r", ".sql"}

Asgi = Callable[[Any, Any, Any], Awaitable[None]]


class UploadLimit:
    """How many bytes an upload may have: a configured maximum, and what the disk holds.

    Args:
        workspace: Whose disk.
        most: The maximum, in bytes.
    """

    def __init__(self, workspace: Workspace, most: int) -> None:
        self._most = most
        store = workspace.settings.store
        # A bucket has no end that could be asked for; what is on its way there passes through this machine's disk.
        self._folder = workspace.folder if not store or "://" not in store else None

    def __call__(self, scope: Any, received: int) -> int | None:
        """Return how many bytes a request may have in all, after so many have come; None when it is no upload."""
        if _UPLOADS.match(f"{scope['method']} {scope['path']}") is None:
            return None
        if self._folder is None:
            return self._most
        room = received + shutil.disk_usage(self._folder).free - _ROOM_BYTES
        if room <= received:
            raise Unavailable(
                "The disk of the workspace is full.", next_step="Free some space and try again.", retry_s=60
            )
        return min(self._most, room)


class Incoming:
    """The body of a request, pulled as it is needed."""

    def __init__(self, receive: Any) -> None:
        self._receive = receive
        self._held = b""
        self.whole = False

    async def upto(self, size: int) -> bytes:
        """Return the next bytes, at least so many unless the body ends.

        Raises:
            Invalid: The sender went away in the middle.
        """
        held = bytearray()
        while not self.whole and len(held) < size:
            message = await self._receive()
            if message["type"] != "http.request":
                raise Invalid("The body was cut off.", next_step="Send it again.")
            held += message.get("body", b"")
            self.whole = not message.get("more_body", False)
        return bytes(held)

    async def begin(self) -> None:
        """Take the first piece, so that a small body that is slow to come holds no thread."""
        self._held = await self.upto(_PIECE_BYTES)

    def pieces(self) -> Iterator[bytes]:
        """Give the body in pieces of a mebibyte; to be called in a thread that was started from the event loop."""
        held, self._held = self._held, b""
        if held:
            yield held
        while not self.whole:
            if piece := anyio.from_thread.run(self.upto, _PIECE_BYTES):
                yield piece

    async def json(self, kind: Any, limit: int = 1 << 20) -> Any:
        """Return the whole body as JSON of this type.

        Raises:
            Invalid: It is something else.
            TooLarge: It is longer than the limit, in bytes.
        """
        raw = await self.upto(limit + 1)
        if len(raw) > limit:
            raise TooLarge(f"The body is larger than {limit} bytes.", next_step="Send less in one call.")
        try:
            return msgspec.json.decode(raw, type=kind)
        except (ValueError, RecursionError) as error:
            raise Invalid(f"The body is not what this address takes: {error}.") from None


class Outgoing(msgspec.Struct):
    """An answer that is a stream.

    Attributes:
        status: The HTTP status.
        headers: Its headers.
        pieces: Its body; the first piece has been read already.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    pieces: Iterator[bytes]


class Call:
    """One request for bytes, and the ways to answer it.

    Args:
        scope: The request.
        receive: Where its body comes from.
        send: Where the answer goes.
        routes: Where the threads are.

    Attributes:
        begun: Whether an answer has begun.
    """

    def __init__(self, scope: Any, receive: Any, send: Any, routes: ByteRoutes) -> None:
        self.scope = scope
        self.incoming = Incoming(receive)
        self.begun = False
        self._send = send
        self._routes = routes

    def header(self, name: bytes) -> str:
        """Return a header of the request; empty when there is none."""
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key.lower() == name), "")

    async def drain(self) -> None:
        """Take what is left of a body that is refused, within bounds: whoever still sends would not see the answer."""
        if self.scope["method"] not in {"PUT", "POST"}:
            return
        left = _DRAINED_BYTES
        with anyio.move_on_after(_DRAINED_S), suppress(UndriftError):
            while left > 0 and (piece := await self.incoming.upto(1)):
                left -= len(piece)

    async def run(self, work: Callable[[Context], Any]) -> Any:
        """Run work in a thread, with a context."""
        calls = self._routes.calls if self.incoming.whole else self._routes.streams
        return await calls.run(work, trace_id=self.scope["undrift.trace_id"])

    async def upload(self, work: Callable[[Context, Iterator[bytes]], Any]) -> Any:
        """Run work that reads the body, in a thread."""
        await self.incoming.begin()
        return await self.run(lambda ctx: work(ctx, self.incoming.pieces()))

    async def read(self, work: Callable[[Context], Any]) -> Any:
        """Run work that reads no body."""
        return await self._routes.calls.run(work, trace_id=self.scope["undrift.trace_id"])

    async def answer(
        self, value: Any = None, *, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Send JSON; ``{}`` when there is nothing to say."""
        body = msgspec.json.encode({} if value is None else value)
        await self.send_bytes(body, status=status, headers=[_JSON, _NO_STORE, *headers])

    async def send_bytes(self, body: bytes, *, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send an answer that is there as a whole."""
        headers = [*headers, (b"content-length", str(len(body)).encode())]
        self.begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def stream(self, outgoing: Outgoing) -> None:
        """Send a stream; a thread is held only while a piece is read, not while it is sent."""
        self.begun = True
        await self._send({"type": "http.response.start", "status": outgoing.status, "headers": outgoing.headers})
        pieces = iter(()) if self.scope.get("undrift.bodiless") else outgoing.pieces
        piece = next(pieces, None)  # read already
        while piece is not None:
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await anyio.to_thread.run_sync(next, pieces, None, limiter=self._routes.readers)
        await self._send({"type": "http.response.body", "body": b""})


class ByteRoutes:
    """Stands before the application and takes the requests that are about bytes.

    Args:
        app: What takes all others.
        workspace: Whose bytes.
        hidden: What errors must not show.

    Attributes:
        calls: Threads for short work.
        streams: Threads that take uploads; they wait for whoever sends.
        readers: Threads that read what is sent.
    """

    def __init__(self, app: Asgi, workspace: Workspace, hidden: Sequence[tuple[str, str]]) -> None:
        self._app = app
        self._hidden = hidden
        self.calls = Calls(workspace)
        self.streams = Calls(workspace)
        self.readers = anyio.CapacityLimiter(16)
        self._swept_at = 0.0
        self._table: tuple[tuple[str, re.Pattern[str], str, Callable[..., Awaitable[None]]], ...] = tuple(
            (method, re.compile(pattern), asked, handler)
            for method, pattern, asked, handler in (
                ("PUT", r"objects/(?P<digest>[^/]+)", "objects.put", self._put_object),
                ("POST", r"objects", "objects.put_many", self._put_objects),
                ("POST", r"objects/missing", "objects.missing", self._missing),
                ("GET", r"artifacts/(?P<root>[^/]+)/(?P<path>.+)", "artifacts.get", self._get_artifact),
                ("POST", r"artifacts/(?P<root>[^/]+)", "artifacts.get_many", self._get_artifacts),
                ("POST", r"uploads", "uploads.begin", self._begin),
                ("GET", r"uploads/(?P<upload>[^/]+)", "uploads.parts", self._parts),
                ("DELETE", r"uploads/(?P<upload>[^/]+)", "uploads.abort", self._abort),
                ("PUT", r"uploads/(?P<upload>[^/]+)/(?P<number>[0-9]{1,5})", "uploads.put_part", self._put_part),
                ("POST", r"uploads/(?P<upload>[^/]+)/complete", "uploads.complete", self._complete),
            )
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, or hand it on."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith(("/api/v1/objects", "/api/v1/artifacts/", "/api/v1/uploads")):
            await self._app(scope, receive, send)
            return
        call = Call(scope, receive, send, self)
        try:
            await self._answer(call, decoded_path(scope).removeprefix("/api/v1/"))
        except Exception as error:
            if call.begun:  # nothing can be said any more: the broken connection tells
                raise
            await call.drain()
            problem = to_problem(error, trace_id=scope["undrift.trace_id"], hidden=self._hidden)
            headers = [(b"content-type", PROBLEM_JSON.encode()), _NO_STORE]
            headers += [(name.encode(), value.encode()) for name, value in problem.headers.items()]
            await call.send_bytes(msgspec.json.encode(problem.details), status=problem.status, headers=headers)

    async def _answer(self, call: Call, path: str) -> None:
        allowed = []
        for method, pattern, asked, handler in self._table:
            if (found := pattern.fullmatch(path)) is None:
                continue
            if method == call.scope["method"]:
                call.scope["undrift.asked"] = asked
                await handler(call, **found.groupdict())
                return
            allowed.append(method)
        if not allowed:
            raise NotFound("There is nothing at this address.", next_step="Operations are at /api/openapi.json.")
        raise WrongMethod("This address does not take this method.", next_step=f"It takes {', '.join(allowed)}.")

    # -- objects ------------------------------------------------------------------------------------------------------

    async def _put_object(self, call: Call, digest: str) -> None:
        def work(ctx: Context, pieces: Iterator[bytes]) -> Any:
            ctx.policy.check(ctx.actor, "tracking:write")
            digest_, size = ctx.repository.objects.put_stream(pieces, digest=digest)
            return {"digest": digest_, "size_bytes": size}

        await call.answer(await call.upload(work))

    async def _missing(self, call: Call) -> None:
        asked = await call.incoming.json(_Digests)
        if len(asked.digests) > _MOST_FRAMES:
            raise TooLarge(f"{len(asked.digests)} digests in one call.", next_step=f"Ask about {_MOST_FRAMES} at most.")

        def work(ctx: Context) -> list[str]:
            ctx.policy.check(ctx.actor, "tracking:write")
            sizes = ctx.repository.objects.sizes(asked.digests)
            return [digest for digest, size in zip(asked.digests, sizes, strict=True) if size is None]

        await call.answer(await call.read(work))

    async def _put_objects(self, call: Call) -> None:
        def work(ctx: Context, pieces: Iterator[bytes]) -> Any:
            ctx.policy.check(ctx.actor, "tracking:write")
            said: list[str] = []
            stored = ctx.repository.objects.put_many(_unframed(pieces, said))
            for digest, (actual, _) in zip(said, stored, strict=True):
                if digest != actual:
                    raise Invalid(
                        f"The bytes that came are not object {digest}: theirs is {actual}.",
                        next_step="Send them again when nothing writes to the file.",
                        object=digest,
                    )
            return {"objects": len(stored)}

        await call.answer(await call.upload(work))

    # -- artifacts ----------------------------------------------------------------------------------------------------

    async def _get_artifact(self, call: Call, root: str, path: str) -> None:
        spans = call.header(b"range"), call.header(b"if-range"), call.header(b"if-none-match")

        def work(ctx: Context) -> Outgoing:
            found = find_artifact(ctx, FindArtifact(root, check_artifact_path(path)))
            return outgoing(ctx, found.digest, found.size_bytes, found.path, spans, needed_by=_named(found))

        await call.stream(await call.read(work))

    async def _get_artifacts(self, call: Call, root: str) -> None:
        asked = await call.incoming.json(_Paths, 8 << 20)
        if len(asked.paths) > _MOST_PATHS:
            raise TooLarge(f"{len(asked.paths)} files in one call.", next_step=f"Ask for {_MOST_PATHS} at most.")

        def work(ctx: Context) -> Outgoing:
            found = find_artifacts(ctx, root, asked.paths)
            if sum(one.size_bytes for one in found) > _MOST_FRAMED_BYTES:
                raise TooLarge("These files are larger than 64 MiB.", next_step="Ask for them in several calls.")
            pieces = _gathered(
                frame(one.digest, ctx.repository.objects.get(one.digest, needed_by=_named(one))) for one in found
            )
            headers = [(b"content-type", b"application/octet-stream"), _NO_STORE]
            return Outgoing(200, headers, _begun(pieces))

        await call.stream(await call.read(work))

    # -- uploads ------------------------------------------------------------------------------------------------------

    async def _begin(self, call: Call) -> None:
        asked = await call.incoming.json(_Begin)

        def work(ctx: Context) -> Any:
            ctx.policy.check(ctx.actor, "tracking:write")
            self.sweep(ctx)
            if asked.digest and ctx.repository.objects.size(asked.digest) is not None:
                return _Upload(asked.digest, complete=True)
            name = asked.digest or new_id(ctx.now())
            ctx.repository.uploads.begin(name, "", ctx.now())
            return _Upload(name, parts=ctx.repository.uploads.parts(name))

        await call.answer(await call.read(work))

    async def _parts(self, call: Call, upload: str) -> None:
        def work(ctx: Context) -> Any:
            ctx.policy.check(ctx.actor, "tracking:write")
            ctx.repository.uploads.purpose(upload)
            return _Upload(upload, parts=ctx.repository.uploads.parts(upload))

        await call.answer(await call.read(work))

    async def _abort(self, call: Call, upload: str) -> None:
        def work(ctx: Context) -> None:
            ctx.policy.check(ctx.actor, "tracking:write")
            ctx.repository.uploads.abort(upload)

        await call.read(work)
        await call.answer()

    async def _put_part(self, call: Call, upload: str, number: str) -> None:
        def work(ctx: Context, pieces: Iterator[bytes]) -> Part:
            ctx.policy.check(ctx.actor, "tracking:write")
            return ctx.repository.uploads.put_part(upload, int(number), pieces)

        part = await call.upload(work)
        await call.answer(part, headers=[(b"etag", f'"{part.digest}"'.encode())])

    async def _complete(self, call: Call, upload: str) -> None:
        asked = await call.incoming.json(_Complete)

        def work(ctx: Context) -> Any:
            ctx.policy.check(ctx.actor, "tracking:write")
            size = ctx.repository.objects.size(asked.digest)
            if size is None:
                _, size = ctx.repository.uploads.complete(upload, asked.parts, asked.digest)
            return {"digest": asked.digest, "size_bytes": size}

        await call.answer(await call.run(work))

    def sweep(self, ctx: Context) -> None:
        """Remove uploads that were left for a day; looks at most once an hour."""
        if time.monotonic() - self._swept_at > _SWEEP_S or not self._swept_at:
            self._swept_at = time.monotonic()
            ctx.repository.uploads.sweep(ctx.now() - _LEFT_AFTER)


class _Digests(msgspec.Struct):
    digests: list[str]


class _Paths(msgspec.Struct):
    paths: list[str]


class _Begin(msgspec.Struct):
    digest: str = ""


class _Complete(msgspec.Struct):
    parts: list[str]
    digest: str


class _Upload(msgspec.Struct):
    id: str
    complete: bool = False
    parts: list[Part] = []
    part_bytes: int = PART_BYTES


def decoded_path(scope: Any) -> str:
    """Return the path of a request, percent-decoded once.

    Raises:
        Invalid: It is not UTF-8.
    """
    raw = scope.get("raw_path")
    try:
        return str(scope["path"]) if raw is None else unquote_to_bytes(raw.split(b"?")[0]).decode()
    except UnicodeDecodeError:
        raise Invalid("The address is not percent-encoded UTF-8.") from None


def outgoing(
    ctx: Context, digest: str, size: int, path: str, spans: tuple[str, str, str] = ("", "", ""), *, needed_by: str
) -> Outgoing:
    """Make the answer that gives a file: as an attachment, whatever it is, and a stretch of it when that is asked.

    Args:
        ctx: Where the store is.
        digest: The object.
        size: Its size in bytes.
        path: What it is called.
        spans: The headers ``Range``, ``If-Range`` and ``If-None-Match`` of the request.
        needed_by: What refers to the object, in words.
    """
    wanted, only_if, known = spans
    tag = f'"{digest}"'
    headers = [
        (b"content-type", _content_type(path).encode()),
        (b"content-disposition", _disposition(path.rpartition("/")[2]).encode()),
        (b"content-security-policy", b"sandbox"),
        (b"accept-ranges", b"bytes"),
        (b"etag", tag.encode()),
        (b"cache-control", b"private, no-cache"),
    ]
    if known and (known == "*" or tag in (one.strip() for one in known.split(","))):
        return Outgoing(304, headers, iter(()))
    span = _span(wanted, size) if wanted and only_if in {"", tag} else None
    if span == ():
        headers += [(b"content-range", f"bytes */{size}".encode()), (b"content-length", b"0")]
        return Outgoing(416, headers, iter(()))
    if not span:
        headers.append((b"content-length", str(size).encode()))
        return Outgoing(200, headers, _begun(ctx.repository.objects.read(digest, needed_by=needed_by)))
    start, end = span
    headers += [
        (b"content-range", f"bytes {start}-{end - 1}/{size}".encode()),
        (b"content-length", str(end - start).encode()),
    ]
    pieces = ctx.repository.objects.read(digest, start, end - start, needed_by=needed_by)
    return Outgoing(206, headers, _begun(pieces))


def query_of(scope: Any) -> Mapping[str, str]:
    """Return the parameters of a query string, the first of each name.

    Raises:
        Invalid: It is not UTF-8.
    """
    found: dict[str, str] = {}
    try:
        for pair in scope["query_string"].split(b"&"):
            name, _, value = pair.replace(b"+", b" ").partition(b"=")
            found.setdefault(unquote_to_bytes(name).decode(), unquote_to_bytes(value).decode())
    except UnicodeDecodeError:
        raise Invalid("The query string is not percent-encoded UTF-8.") from None
    return found


def _named(found: Artifact) -> str:
    return f"{found.path!r} of {found.root}"


def _begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    # The first piece is read here, in the thread, so that what is damaged is said before the answer begins.
    first = next(pieces, b"")
    return chain((first,), pieces)


def _gathered(frames: Iterator[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for one in frames:
        held += one
        if len(held) >= _PIECE_BYTES:
            yield bytes(held)
            held.clear()
    yield bytes(held)


def _unframed(pieces: Iterator[bytes], said: list[str]) -> Iterator[bytes]:
    """Give the bytes of each frame; its digest is added to ``said`` before."""
    held = bytearray()
    for piece in pieces:
        held += piece
        at = 0
        while len(held) - at >= FRAME_HEAD.size:
            digest, size = FRAME_HEAD.unpack_from(held, at)
            if size > PACKED_BYTES or len(said) >= _MOST_FRAMES:
                raise TooLarge(
                    f"A body of frames holds at most {_MOST_FRAMES} objects of at most {PACKED_BYTES} bytes.",
                    next_step="Send larger objects each by itself, and more in several calls.",
                )
            begin = at + FRAME_HEAD.size
            if len(held) < begin + size:
                break
            said.append(digest.hex())
            yield bytes(held[begin : begin + size])
            at = begin + size
        del held[:at]
    if held:
        raise Invalid("The last frame of the body is not whole.", next_step="Send it again.")


def _content_type(path: str) -> str:
    name = path.rpartition("/")[2]
    if name == "MLmodel" or Path(name).suffix.lower() in _TEXT:
        return "text/plain; charset=utf-8"
    kind, packing = _TYPES.guess_type(name)
    return "application/octet-stream" if kind is None or packing is not None else kind


def _disposition(name: str) -> str:
    plain = re.sub(r'[^\x20-\x7e]|["\\%]', "_", name)
    said = f'attachment; filename="{plain}"'
    return said if plain == name else f"{said}; filename*=UTF-8''{quote(name, safe='')}"


def _span(wanted: str, size: int) -> tuple[int, int] | tuple[()] | None:
    """Return the first byte and the one after the last; () when there is none such; None when all is to be sent."""
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", wanted.strip())
    if found is None or found[0] == "bytes=-":
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        return (size - length, size) if length else ()
    start = int(found[1])
    end = min(int(found[2]) + 1, size) if found[2] else size
    if found[2] and int(found[2]) < start:
        return None
    return (start, end) if start < size else ()
