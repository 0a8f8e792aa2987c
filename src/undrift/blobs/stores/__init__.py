"""The places that keep bytes, one file each, and the one function that opens them by address.

Each keeps the promises of `undrift.blobs.ports.ByteStore`, which `undrift.testing.blobs` puts to the test. To add one:
a file here, a scheme in `open_store`, and a class in ``tests/blobs/test_stores.py``.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from undrift.blobs.names import parse_key
from undrift.blobs.ports import ByteStore
from undrift.blobs.stores.local import LocalStore
from undrift.blobs.stores.memory import MemoryStore
from undrift.core.errors import Invalid, Unavailable

__all__ = ["open_store"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_HOW_TO_WRITE = (
    "Write a folder's path, file:///path, s3://bucket/prefix?endpoint=https://host&region=name, or memory://."
)


def open_store(url: str) -> ByteStore:
    """Open the byte store at an address.

    Args:
        url: A path or ``file:///path`` (a folder), ``s3://bucket/prefix`` with the options ``endpoint`` and
            ``region``, or ``memory://`` (a new, empty one each time).

    Raises:
        Invalid: The scheme is unknown, or the address has parts that it cannot have.
        Unavailable: The store needs a package that is not installed; the sentence names it.

    >>> open_store("/var/lib/undrift/blobs")
    LocalStore('/var/lib/undrift/blobs')
    """
    if url and _SCHEME.match(url) is None:
        return LocalStore(Path(url))
    if url == "memory://":
        return MemoryStore()
    if url.startswith("file:///") and not urlsplit(url).query and not urlsplit(url).fragment:
        return LocalStore(Path(unquote(urlsplit(url).path)))
    if url.startswith("s3://"):
        return _open_s3(url)
    raise Invalid(f"{_shown(url)!r} is no address of a byte store.", next_step=_HOW_TO_WRITE)


def _open_s3(url: str) -> ByteStore:
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if _BUCKET.fullmatch(parts.netloc) is None or parts.fragment or options.keys() - {"endpoint", "region"}:
        raise Invalid(
            f"{_shown(url)!r} is no address of a bucket.",
            next_step=f"{_HOW_TO_WRITE} Credentials come from the environment (AWS_ACCESS_KEY_ID, ...).",
        )
    if "endpoint" in options and not options["endpoint"].startswith(("https://", "http://")):
        raise Invalid(f"The endpoint of {_shown(url)!r} is no address of a service.", next_step=_HOW_TO_WRITE)
    prefix = parts.path.strip("/")
    if prefix:
        parse_key(prefix)
    try:
        from undrift.blobs.stores.s3 import S3Store  # noqa: PLC0415 - obstore is an extra, and takes time to import
    except ModuleNotFoundError:
        raise Unavailable(
            "A store in S3 needs a package that is not installed.", next_step="Run `pip install 'undrift[s3]'`."
        ) from None
    return S3Store(parts.netloc, prefix, **options)


def _shown(url: str) -> str:
    """Return the part of an address that cannot hold a secret."""
    return url.split("?", maxsplit=1)[0].rsplit("@", maxsplit=1)[-1][:80]
