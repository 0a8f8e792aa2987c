"""The one place where keys and paths are checked. Both say what is allowed; nothing is repaired or decoded.

A *key* names bytes in a byte store. Keys are made by undrift, so the alphabet is narrow: safe in a file system, a
bucket, an address and a log line. A *path* names a file in a tree. Its parts are file names that people chose, so they
may hold spaces and letters of any language, but nothing that a file system or a parser of addresses reads as a step
elsewhere.
"""

from __future__ import annotations

import re

from undrift.core.errors import Invalid

__all__ = ["ENTRY_NAME", "is_key_part", "parse_key", "parse_path"]

_KEY_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_KEY_LIMIT = 700  # S3 takes 1,024 bytes, and a prefix of the bucket comes before the key
_PATH_LIMIT = 4096
_DEPTH_LIMIT = 100

ENTRY_NAME = r"^(?!\.{1,2}\Z)(?![A-Za-z]:)[^/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}\Z"
_ENTRY_NAME = re.compile(ENTRY_NAME)


def is_key_part(name: str) -> bool:
    """Say whether a name can stand between two slashes of a key."""
    return _KEY_PART.fullmatch(name) is not None


def parse_key(key: str) -> str:
    """Return the key when it is safe.

    Raises:
        Invalid: It is empty or too long, or has an empty part, a part that begins with a dot or a dash, or a character
            outside ``A-Z a-z 0-9 . _ -``.

    >>> parse_key("refs/datasets/late/main.ref")
    'refs/datasets/late/main.ref'
    """
    if len(key) > _KEY_LIMIT or not all(map(is_key_part, key.split("/"))):
        raise Invalid(
            f"{key[:80]!r} cannot be a key.",
            next_step="A key is made of parts joined by '/'; each has letters, digits, '.', '_' or '-' and begins with "
            "a letter, a digit or '_'.",
        )
    return key


def parse_path(path: str) -> tuple[str, ...]:
    r"""Return the parts of a path in a tree.

    Raises:
        Invalid: It is empty, absolute, too long or too deep, has an empty part, ``.`` or ``..``, a backslash, a drive
            letter, a control character, or text that is not Unicode.

    >>> parse_path("parts/2013 04.parquet")
    ('parts', '2013 04.parquet')
    """
    parts = tuple(path.split("/"))
    if len(path) > _PATH_LIMIT or len(parts) > _DEPTH_LIMIT or not all(map(_ENTRY_NAME.match, parts)):
        raise Invalid(
            f"{path[:80]!r} cannot be a path in a tree.",
            next_step="Use names joined by '/', relative to the top, without '.', '..', backslashes, drive letters and "
            "control characters.",
        )
    return parts
