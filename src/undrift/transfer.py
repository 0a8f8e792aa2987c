"""Files to and from runs and logged models: in parallel, without sending what is there, going on after a break.

The same calls work on the workspace here and on a hub far away. A file is named by the hash of its bytes: what the hub
has is not sent again, what arrives is verified, and a transfer that is cut off is started again by calling it again.
A path becomes visible when its bytes are on the hub's disk, not before.

    transfer.upload_folder(client, run.id, Path("plots"), "plots")
    transfer.download(client, run.id, "plots", Path("copy"))
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote

import msgspec
from blake3 import blake3

from undrift.blobs import FRAME_HEAD, PACKED_BYTES, frame
from undrift.core.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable, UndriftError, from_problem
from undrift.core.hashing import hash_bytes, hash_file
from undrift.core.operation import Operation
from undrift.core.transport import HttpTransport, InProcessTransport
from undrift.tracking.artifacts import (
    ArtifactEntry,
    ListArtifacts,
    PutArtifact,
    PutArtifacts,
    check_artifact_path,
    list_artifacts,
    put_artifacts,
)

if TYPE_CHECKING:
    import httpx

    from undrift.core.context import Context

__all__ = ["Transferred", "download", "upload_file", "upload_folder"]

_AT_ONCE = 4
_THREADS = "undrift-transfer"
_PIECE_BYTES = 1 << 20
_BATCH_BYTES = 8 << 20
_BATCH_FILES = 500
_ASKED_AT_ONCE = 5000
_PUT_AT_ONCE = 5000
_PARTS_FROM = 128 << 20  # files above this travel in parts: a break costs a part, not the file
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 2.0

T = TypeVar("T")


class Callee(Protocol):
    """What a transfer needs of a client or of a transport: to call operations."""

    def call(self, operation: Operation[Any, Any], request: Any, *, idempotency_key: str | None = None) -> Any:
        """Call an operation."""


class Transferred(msgspec.Struct, frozen=True):
    """What a transfer came to.

    Attributes:
        files: How many files there are at its end.
        size_bytes: How many bytes they have.
        sent_files: How many of them had to travel.
        sent_bytes: How many bytes these have.
    """

    files: int
    size_bytes: int
    sent_files: int
    sent_bytes: int


class _Local(msgspec.Struct, frozen=True):
    """A file of this machine that is to be an artifact."""

    path: str
    file: Path
    digest: str
    size_bytes: int


def upload_file(target: Callee, root: str, file: Path, path: str = "", *, patience_s: float = 60.0) -> Transferred:
    """Make a file an artifact of a run or a logged model.

    Args:
        target: A client, or a transport.
        root: The id of the run or the logged model.
        file: The file.
        path: What to call it; its own name when left out.
        patience_s: How long to wait for a hub that does not answer, in seconds, before giving up.

    Raises:
        NotFound: There is no such file, run or logged model.
        Invalid: The path is not safe, or the file changed while it was being sent.
        Conflict: The run or logged model is deleted, or there is a folder of that name.
        Unavailable: The hub did not answer in that time.
    """
    if not file.is_file():
        raise NotFound(f"There is no file {str(file)!r}.")
    return _upload(target, root, [(check_artifact_path(path or file.name), file)], patience_s)


def upload_folder(
    target: Callee, root: str, folder: Path, prefix: str = "", *, patience_s: float = 60.0
) -> Transferred:
    """Make all files in a folder and below artifacts of a run or a logged model.

    Args:
        target: A client, or a transport.
        root: The id of the run or the logged model.
        folder: The folder.
        prefix: The folder they get below the root; the top when left out.
        patience_s: How long to wait for a hub that does not answer, in seconds, before giving up.

    Raises:
        NotFound: There is no such folder, run or logged model.
        Invalid: There is something else than files and folders in it, such as a link; a name cannot be a path; or a
            file changed while it was being sent.
        Conflict: The run or logged model is deleted, or a file would take the place of a folder.
        Unavailable: The hub did not answer in that time.
    """
    above = f"{check_artifact_path(prefix)}/" if prefix else ""
    return _upload(target, root, _files_below(folder, above), patience_s)


def download(target: Callee, root: str, path: str, folder: Path, *, patience_s: float = 60.0) -> Transferred:
    """Copy artifacts of a run or a logged model into a folder.

    What lies below the path comes into the folder under the names it has below the path; a single file under its own
    name. Files that are there already with the same content stay as they are, others of the same name are replaced,
    and no name leads out of the folder. Each file appears whole and verified.

    Args:
        target: A client, or a transport.
        root: The id of the run or the logged model.
        path: A file or a folder; empty for everything.
        folder: Where to; made when it is not there.
        patience_s: How long to wait for a hub that does not answer, in seconds, before giving up.

    Raises:
        NotFound: There is no such run or logged model, or nothing at the path.
        Conflict: A link or a file in the folder is in the way.
        Corrupt: What arrived is not what was stored.
        Unavailable: The hub did not answer in that time.
    """
    if path:
        check_artifact_path(path)
    entries = list(_listed(target, root, path, patience_s))
    if path and not entries:
        raise NotFound(f"No such artifact: {path!r}.", next_step="List what is there.", path=path)
    there = _way(target)
    place = _Folder(folder)
    cut = len(path) + 1 if path else 0
    wanted: list[tuple[ArtifactEntry, Path]] = []
    for entry in entries:
        # Names come from the wire: nothing is believed that was not checked here.
        name = check_artifact_path(entry.path)
        if path and name != path and not name.startswith(f"{path}/"):
            raise Corrupt(f"The hub answered with {name[:80]!r}, which is not below {path!r}.")
        wanted.append((entry, place.file(name.rpartition("/")[2] if name == path else name[cut:])))
    with ThreadPoolExecutor(_AT_ONCE, _THREADS) as pool:
        same = pool.map(lambda one: _is_there(one[1], one[0].digest, one[0].size_bytes or 0), wanted)
        missing = [one for one, is_same in zip(wanted, same, strict=True) if not is_same]
        small = [one for one in missing if (one[0].size_bytes or 0) <= PACKED_BYTES]
        large = [one for one in missing if (one[0].size_bytes or 0) > PACKED_BYTES]
        batches = _batches(small, lambda one: one[0].size_bytes or 0)
        work: list[Callable[[], None]] = [
            *(lambda batch=batch: _receive_small(there, root, batch, place) for batch in batches),
            *(lambda one=one: _receive_large(there, root, one, place) for one in large),
        ]
        list(pool.map(lambda one: _patiently(one, patience_s), work))
    return Transferred(
        len(wanted),
        sum(entry.size_bytes or 0 for entry, _ in wanted),
        len(missing),
        sum(entry.size_bytes or 0 for entry, _ in missing),
    )


# -- up ---------------------------------------------------------------------------------------------------------------


def _upload(target: Callee, root: str, named: Iterable[tuple[str, Path]], patience_s: float) -> Transferred:
    there = _way(target)
    with ThreadPoolExecutor(_AT_ONCE, _THREADS) as pool:
        files = list(pool.map(lambda one: _hashed(*one), named))
        by_digest = {file.digest: file for file in files}
        digests = list(by_digest)
        missing: list[_Local] = []
        for at in range(0, len(digests), _ASKED_AT_ONCE):
            some = digests[at : at + _ASKED_AT_ONCE]
            answer = set(_patiently(lambda some=some: there.missing(some), patience_s))  # type: ignore[misc]
            missing += [by_digest[one] for one in some if one in answer]
        small = [file for file in missing if file.size_bytes <= PACKED_BYTES]
        large = [file for file in missing if file.size_bytes > PACKED_BYTES]
        work: list[Callable[[], None]] = [
            *(lambda batch=batch: there.put_small(batch) for batch in _batches(small, lambda one: one.size_bytes)),
            *(lambda one=one: there.put_large(one) for one in large),
        ]
        list(pool.map(lambda one: _patiently(one, patience_s), work))
    for at in range(0, len(files), _PUT_AT_ONCE):
        entries = tuple(PutArtifact(one.path, one.digest, one.size_bytes) for one in files[at : at + _PUT_AT_ONCE])
        request = PutArtifacts(root, entries)
        _patiently(lambda request=request: target.call(put_artifacts, request), patience_s)  # type: ignore[misc]
    return Transferred(
        len(files),
        sum(one.size_bytes for one in files),
        len(missing),
        sum(one.size_bytes for one in missing),
    )


def _hashed(path: str, file: Path) -> _Local:
    with _explained(file):
        size = file.stat().st_size
        return _Local(path, file, hash_file(file), size)


def _files_below(folder: Path, above: str) -> Iterator[tuple[str, Path]]:
    try:
        found = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"There is no folder {str(folder)!r}.") from None
    for entry in found:
        path = check_artifact_path(above + entry.name)
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(folder / entry.name, f"{path}/")
        elif entry.is_file(follow_symlinks=False):
            yield path, folder / entry.name
        else:
            raise Invalid(
                f"{str(folder / entry.name)!r} is not a file: links, devices and pipes are not sent.",
                next_step="Replace it by what it stands for, or remove it from the folder.",
            )


# -- down -------------------------------------------------------------------------------------------------------------


def _listed(target: Callee, root: str, path: str, patience_s: float) -> Iterator[ArtifactEntry]:
    after = ""
    while True:
        request = ListArtifacts(root, path, recursive=True, after=after)
        page = _patiently(lambda request=request: target.call(list_artifacts, request), patience_s)  # type: ignore[misc]
        yield from page.entries
        after = page.next_after
        if not after:
            return


def _is_there(file: Path, digest: str, size: int) -> bool:
    with suppress(OSError):
        return file.is_file() and not file.is_symlink() and file.stat().st_size == size and hash_file(file) == digest
    return False


def _receive_small(there: _Way, root: str, batch: Sequence[tuple[ArtifactEntry, Path]], place: _Folder) -> None:
    waiting = list(batch)
    for digest, data in there.get_small(root, [entry for entry, _ in batch]):
        if not waiting:
            raise Corrupt("The hub answered with more files than it was asked for.", next_step="Check the address.")
        entry, file = waiting.pop(0)
        if digest != entry.digest or hash_bytes(data) != digest:
            raise _altered(entry)
        with place.new_file(file) as (descriptor, _):
            os.write(descriptor, data)
    if waiting:
        raise Unavailable("The answer was cut off.", next_step="Download again.")


def _receive_large(there: _Way, root: str, one: tuple[ArtifactEntry, Path], place: _Folder) -> None:
    entry, file = one
    # Named by its content: whoever comes after a break goes on with it. Two files beside each other may be equal.
    mark = hash_bytes(file.name.encode(errors="surrogateescape"))[:8]
    with place.new_file(file, f".{entry.digest[:32]}.{mark}.part") as (descriptor, begun):
        hasher = blake3()
        at = 0
        while at < begun and (piece := os.pread(descriptor, min(_PIECE_BYTES, begun - at), at)):
            hasher.update(piece)
            at += len(piece)
        if at < (entry.size_bytes or 0):
            for piece in there.get_large(root, entry, at):
                os.pwrite(descriptor, piece, at)
                hasher.update(piece)
                at += len(piece)
        if at < (entry.size_bytes or 0):
            raise Unavailable("The answer was cut off.", next_step="Download again.")
        if hasher.hexdigest() != entry.digest:
            os.ftruncate(descriptor, 0)
            raise _altered(entry)


def _altered(entry: ArtifactEntry) -> Corrupt:
    return Corrupt(
        f"What arrived for {entry.path!r} is not what was stored.", next_step="Download again.", path=entry.path
    )


class _Folder:
    """A folder that is written to, and that no name leads out of."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: set[Path] = set()

    def file(self, name: str) -> Path:
        """Return where the file of a checked name lies; its folders are made."""
        file = self._folder.joinpath(*name.split("/"))
        parent = file.parent
        if parent not in self._known:
            with _explained(parent):
                parent.mkdir(parents=True, exist_ok=True)
                if not parent.resolve().is_relative_to(self._folder.resolve()):
                    raise Conflict(
                        f"{str(parent)!r} leads out of {str(self._folder)!r} by a link.",
                        next_step="Remove the link, or download into another folder.",
                    )
            self._known.add(parent)
        return file

    @contextmanager
    def new_file(self, file: Path, name: str = "") -> Iterator[tuple[int, int]]:
        """Open a file that takes the place of another when the block ends; a named one stays when the block fails.

        Gives the descriptor, and how many bytes are there from before.
        """
        temporary = file.with_name(name or f".{secrets.token_hex(16)}.part")
        with _explained(file):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if name else os.O_EXCL)
            descriptor = os.open(temporary, flags, 0o644)
            try:
                yield descriptor, os.fstat(descriptor).st_size
                os.replace(temporary, file)  # noqa: PTH105 - beside the other calls of os
            except BaseException:
                if not name:
                    temporary.unlink(missing_ok=True)
                raise
            finally:
                os.close(descriptor)


# -- the ways bytes travel --------------------------------------------------------------------------------------------


class _Way(Protocol):
    """How bytes travel."""

    def missing(self, digests: Sequence[str]) -> list[str]:
        """Return which objects are not there."""

    def put_small(self, files: Sequence[_Local]) -> None:
        """Store small files."""

    def put_large(self, file: _Local) -> None:
        """Store a large file."""

    def get_small(self, root: str, entries: Sequence[ArtifactEntry]) -> Iterator[tuple[str, bytes]]:
        """Give digest and bytes of small files, in order."""

    def get_large(self, root: str, entry: ArtifactEntry, start: int) -> Iterator[bytes]:
        """Give the bytes of a large file from one on."""


def _way(target: Any) -> _Way:
    transport = target
    # A client holds a transport, which may hold another.
    while not isinstance(transport, HttpTransport | InProcessTransport) and hasattr(transport, "_transport"):
        transport = transport._transport  # noqa: SLF001 - bytes go beside the operations, on the same connections
    if isinstance(transport, HttpTransport):
        return _Remote(transport._client)  # noqa: SLF001 - the same
    if isinstance(transport, InProcessTransport):
        return _Here(transport._context)  # noqa: SLF001 - the same
    raise Invalid("Files travel through a client of undrift.", next_step="Make one with `undrift.connect()`.")


class _Here:
    """Into and out of the store of a workspace on this machine."""

    def __init__(self, context: Callable[[], Context]) -> None:
        self._context = context

    def _allowed(self, permission: str) -> Context:
        ctx = self._context()
        ctx.policy.check(ctx.actor, permission)
        return ctx

    def missing(self, digests: Sequence[str]) -> list[str]:
        sizes = self._allowed("tracking:write").repository.objects.sizes(digests)
        return [digest for digest, size in zip(digests, sizes, strict=True) if size is None]

    def put_small(self, files: Sequence[_Local]) -> None:
        stored = self._allowed("tracking:write").repository.objects.put_many([file.file for file in files])
        for file, (digest, _) in zip(files, stored, strict=True):
            if digest != file.digest:
                raise _changed(file)

    def put_large(self, file: _Local) -> None:
        if self._allowed("tracking:write").repository.objects.put(file.file) != file.digest:
            raise _changed(file)

    def get_small(self, root: str, entries: Sequence[ArtifactEntry]) -> Iterator[tuple[str, bytes]]:
        objects = self._allowed("tracking:read").repository.objects
        for entry in entries:
            yield entry.digest, objects.get(entry.digest, needed_by=f"{entry.path!r} of {root}")

    def get_large(self, root: str, entry: ArtifactEntry, start: int) -> Iterator[bytes]:
        objects = self._allowed("tracking:read").repository.objects
        return objects.read(entry.digest, start, needed_by=f"{entry.path!r} of {root}")


class _Remote:
    """To and from a hub, on the connections of a transport."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def missing(self, digests: Sequence[str]) -> list[str]:
        answer = self._ask("POST", "/objects/missing", content=msgspec.json.encode({"digests": digests}))
        return msgspec.json.decode(answer, type=list[str])

    def put_small(self, files: Sequence[_Local]) -> None:
        body = bytearray()
        for file in files:
            with _explained(file.file):
                body += frame(file.digest, file.file.read_bytes())
        self._ask("POST", "/objects", content=bytes(body))

    def put_large(self, file: _Local) -> None:
        if file.size_bytes <= _PARTS_FROM:
            self._ask(
                "PUT",
                f"/objects/{file.digest}",
                content=_pieces(file.file, 0, file.size_bytes),
                headers={"content-length": str(file.size_bytes)},
            )
            return
        upload = msgspec.json.decode(
            self._ask("POST", "/uploads", content=msgspec.json.encode({"digest": file.digest})), type=_Upload
        )
        if upload.complete:
            return
        arrived = {(part.number, part.digest) for part in upload.parts}
        numbers = {part.number for part in upload.parts}
        count = -(-file.size_bytes // upload.part_bytes)

        def send(number: int) -> str:
            start = (number - 1) * upload.part_bytes
            size = min(upload.part_bytes, file.size_bytes - start)
            if number in numbers:
                hasher = blake3()
                for piece in _pieces(file.file, start, size):
                    hasher.update(piece)
                if (number, hasher.hexdigest()) in arrived:
                    return hasher.hexdigest()
            answer = self._ask(
                "PUT",
                f"/uploads/{upload.id}/{number}",
                content=_pieces(file.file, start, size),
                headers={"content-length": str(size)},
            )
            # What the hub says of a part is enough: the digest of the whole file is checked when all are there.
            return msgspec.json.decode(answer, type=_Part).digest

        with ThreadPoolExecutor(_AT_ONCE, _THREADS) as pool:
            parts = list(pool.map(send, range(1, count + 1)))
        complete = {"digest": file.digest, "parts": parts}
        self._ask("POST", f"/uploads/{upload.id}/complete", content=msgspec.json.encode(complete), timeout=600.0)

    def get_small(self, root: str, entries: Sequence[ArtifactEntry]) -> Iterator[tuple[str, bytes]]:
        body = msgspec.json.encode({"paths": [entry.path for entry in entries]})
        answer = self._ask("POST", f"/artifacts/{root}", content=body)
        at = 0
        while at + FRAME_HEAD.size <= len(answer):
            digest, size = FRAME_HEAD.unpack_from(answer, at)
            at += FRAME_HEAD.size
            yield digest.hex(), answer[at : at + size]
            at += size

    def get_large(self, root: str, entry: ArtifactEntry, start: int) -> Iterator[bytes]:
        headers = {"range": f"bytes={start}-", "if-range": f'"{entry.digest}"'} if start else {}
        with self._translated():
            path = f"/artifacts/{root}/{quote(entry.path)}"
            with self._client.stream("GET", path, headers=headers) as answer:
                if answer.status_code not in {200, 206}:
                    answer.read()
                    raise _problem(answer)
                if start and answer.status_code != 206:
                    raise Unavailable("The hub did not go on where the file ended.", next_step="Download again.")
                yield from answer.iter_raw(_PIECE_BYTES)

    def _ask(self, method: str, path: str, **given: Any) -> bytes:
        with self._translated():
            answer = self._client.request(method, path, **given)
        if not answer.is_success:
            raise _problem(answer)
        return answer.content

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import httpx  # noqa: PLC0415 - loaded already by the transport

        try:
            yield
        except httpx.TransportError as error:
            raise Unavailable(
                f"The hub at {self._client.base_url.host} did not answer ({type(error).__name__}).",
                next_step="Start it with `undrift up`, or check the address.",
            ) from error


class _Part(msgspec.Struct):
    number: int
    digest: str


class _Upload(msgspec.Struct):
    id: str
    part_bytes: int
    complete: bool = False
    parts: list[_Part] = []


def _problem(answer: httpx.Response) -> UndriftError:
    with suppress(ValueError, RecursionError):
        problem = answer.json()
        if isinstance(problem, dict) and "detail" in problem:
            return from_problem({"status": answer.status_code} | problem)
    if answer.status_code in {502, 503, 504}:
        return Unavailable(f"Something between here and the hub answered {answer.status_code} for it.")
    return Corrupt(f"The hub answered {answer.status_code} with something that is not undrift's.")


def _pieces(file: Path, start: int, size: int) -> Iterator[bytes]:
    with _explained(file), file.open("rb", buffering=0) as opened:
        opened.seek(start)
        while size and (piece := opened.read(min(_PIECE_BYTES, size))):
            size -= len(piece)
            yield piece
        if size:
            raise Invalid(f"The file {str(file)!r} changed while it was being sent.", next_step="Send it again.")


def _changed(file: _Local) -> Invalid:
    return Invalid(f"The file {str(file.file)!r} changed while it was being sent.", next_step="Send it again.")


def _batches(items: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    batch: list[T] = []
    held = 0
    for item in items:
        if batch and (len(batch) >= _BATCH_FILES or held + size_of(item) > _BATCH_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(item)
        held += size_of(item)
    if batch:
        yield batch


def _patiently(call: Callable[[], T], patience_s: float) -> T:
    """Call until it is not `Unavailable` any more, or too long has passed; every call here may be repeated."""
    until = time.monotonic() + patience_s
    wait = _FIRST_WAIT_S
    while True:
        try:
            return call()
        except Unavailable:
            if time.monotonic() + wait > until:
                raise
        time.sleep(wait)
        wait = min(wait * 2, _LONGEST_WAIT_S)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {str(error.filename or path)!r}.") from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Conflict(
            f"{str(error.filename or path)!r} is in the way ({error.strerror}).", next_step="Move it away."
        ) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Conflict(f"{str(path)!r} is a link.", next_step="Remove it.") from None
        raise Invalid(f"{str(path)!r} cannot be used: {error.strerror}.", next_step="Check its permissions.") from None
