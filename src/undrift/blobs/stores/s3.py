"""Bytes in a bucket of S3 or of a service that speaks its protocol, through obstore.

Credentials come from the environment (``AWS_ACCESS_KEY_ID`` and its companions, a container or instance role), never
from an address. Requests are retried with back-off within a budget, a download that breaks is resumed; a `swap` is
asked once, so that its answer can be trusted. The service has to honour ``If-Match`` and ``If-None-Match`` on writes
(S3, MinIO, R2 and Ceph do). A process that dies during an upload leaves parts nobody sees but somebody pays for: give
the bucket a lifecycle rule that removes them.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from queue import Full, Queue
from typing import TYPE_CHECKING

import obstore
import obstore.store
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from undrift.blobs.files import PIECE_BYTES, explained
from undrift.blobs.names import parse_key
from undrift.core.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig, RetryConfig, S3Config

__all__ = ["S3Store"]

# Parts of 16 MiB, four at a time: 64 MiB of memory, and the 10,000 parts S3 allows make 156 GiB.
_PART_BYTES = 16 << 20
_PARTS_AT_ONCE = 4
_CLIENT: ClientConfig = {
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=30),  # a stall; the limit on the whole request only has to let large bodies pass
    "timeout": timedelta(hours=6),
}
_RETRY: RetryConfig = {
    "max_retries": 6,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
}
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")


class S3Store:
    """A `ByteStore` in a bucket.

    Args:
        bucket: The bucket, which has to exist.
        prefix: The folder of the bucket in which all keys lie.
        endpoint: Where the service is, when it is not AWS: ``http://127.0.0.1:9000``.
        region: The region of the bucket; by default as the environment says.
    """

    def __init__(self, bucket: str, prefix: str = "", *, endpoint: str = "", region: str = "") -> None:
        config: S3Config = {"disable_bulk_delete": True}  # one key at a time, as every service understands
        if endpoint:
            config["endpoint"] = endpoint
        if region:
            config["region"] = region
        client: ClientConfig = {**_CLIENT, "allow_http": endpoint.startswith("http://")}
        self._name = f"s3://{bucket}/{prefix}".rstrip("/")
        self._connect = partial(
            obstore.store.S3Store, bucket, prefix=prefix or None, config=config, client_options=client
        )
        self._store = self._connect(retry_config=_RETRY)

    @cached_property
    def _asked_once(self) -> obstore.store.S3Store:
        # A repeated conditional write would be refused because of its own first attempt.
        return self._connect(retry_config={"max_retries": 0})

    def __repr__(self) -> str:
        return f"S3Store({self._name!r})"

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Return the bytes under a key, or a stretch of them, in pieces."""
        parse_key(key)
        if start or length is not None:
            # A service refuses a range in which there is nothing; to know that, its end has to be known.
            if (size := self.size(key)) is None:
                raise NotFound(f"There is nothing under {key!r} in {self!r}.", key=key)
            end = size if length is None else min(start + length, size)
            if start >= end:
                return iter((b"",))
            options: GetOptions = {"range": (start, end)}
        else:
            options = {}
        with self._explained(key):
            try:
                found = obstore.get(self._store, key, options=options)
            except FileNotFoundError as error:
                if _reason(error) == "NoSuchBucket":
                    raise
                raise NotFound(f"There is nothing under {key!r} in {self!r}.", key=key) from None
        return self._pieces(found, key)

    def write(
        self,
        key: str | Callable[[], str],
        source: bytes | Iterable[bytes],
        *,
        flushed: bool = True,  # noqa: ARG002 - a bucket keeps all alike
    ) -> None:
        """Put bytes, or all pieces of a source, under a key."""
        if isinstance(key, str):
            self._write(parse_key(key), source)
            return
        # The service wants the key first. What comes before it waits on this machine's disk.
        with explained(Path(tempfile.gettempdir())), tempfile.SpooledTemporaryFile(_PART_BYTES) as spool:
            for piece in (source,) if isinstance(source, bytes) else source:
                spool.write(piece)
            spool.seek(0)
            self._write(parse_key(key()), iter(lambda: spool.read(PIECE_BYTES), b""))

    def _write(self, key: str, source: bytes | Iterable[bytes]) -> None:
        pieces = iter((source,) if isinstance(source, bytes) else source)
        held = bytearray()
        for piece in pieces:
            held += piece
            if len(held) >= _PART_BYTES:
                break
        else:
            self._put(key, bytes(held))
            return
        # The source is read in this thread, for it may belong to it, and may ask this very store; obstore reads what it
        # is given in a thread of its own, in which neither can be done.
        queue: Queue[bytes | BaseException | None] = Queue(_PARTS_AT_ONCE)
        with ThreadPoolExecutor(1) as pool:
            put = pool.submit(self._put, key, _fed(queue))
            end: BaseException | None = None
            try:
                for piece in chain((bytes(held),), pieces):
                    _feed(queue, piece, put)
                    if put.done():  # it failed: the rest need not be read
                        break
            except BaseException as error:
                end = error
                raise
            finally:
                _feed(queue, end, put)
            put.result()

    def _put(self, key: str, source: bytes | Iterator[bytes]) -> None:
        with self._explained(key):
            obstore.put(self._store, key, source, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)

    def size(self, key: str) -> int | None:
        """Return how many bytes are under a key; None when there is nothing."""
        parse_key(key)
        with self._explained(key):
            try:
                return obstore.head(self._store, key)["size"]
            except FileNotFoundError:
                return None

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Give every key below a prefix with its size in bytes."""
        return self._walk(parse_key(prefix) if prefix else "")

    def delete(self, key: str) -> None:
        """Remove what is under a key."""
        parse_key(key)
        with self._explained(key):
            obstore.delete(self._store, key)

    def swap(self, key: str, expected: bytes | None, new: bytes) -> bool:
        """Put `new` under a key if exactly `expected` is there now."""
        parse_key(key)
        with self._explained(key):
            try:
                if expected is None:
                    obstore.put(self._asked_once, key, new, mode="create")
                    return True
                found = obstore.get(self._store, key)
                if found.bytes() != expected:
                    return False
                obstore.put(self._asked_once, key, new, mode={"e_tag": found.meta["e_tag"]})
            except (AlreadyExistsError, PreconditionError):
                return False
            except FileNotFoundError as error:
                if _reason(error) == "NoSuchBucket":
                    raise
                return False
            return True

    def _pieces(self, found: obstore.GetResult, key: str) -> Iterator[bytes]:
        with self._explained(key):
            yield from found.stream(min_chunk_size=PIECE_BYTES)

    def _walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        with self._explained(prefix):
            for page in obstore.list(self._store, prefix or None, chunk_size=1000):
                for found in page:
                    yield found["path"], found["size"]

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            # The service's own text is not passed on, nor chained: it can hold key ids and what was signed.
            raise Unavailable(
                f"S3 failed at {key!r} in {self._name}: {_reason(error)}.",
                next_step="Check that the bucket exists, that AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the "
                "role) may use it, and that the endpoint answers; then try again.",
                key=key,
            ) from None


def _feed(queue: Queue[bytes | BaseException | None], piece: bytes | BaseException | None, put: Future[None]) -> None:
    while not put.done():
        with suppress(Full):
            queue.put(piece, timeout=0.1)
            return


def _fed(queue: Queue[bytes | BaseException | None]) -> Iterator[bytes]:
    while (piece := queue.get()) is not None:
        if isinstance(piece, BaseException):
            raise piece
        yield piece


def _reason(error: Exception) -> str:
    text = str(error)
    if code := _CODE.search(text):
        return code[1]
    if status := _STATUS.search(text):
        return f"HTTP status {status[1]}"
    return "it does not answer"
