"""The nouns of artifacts, and the one rule for their paths, which every layer uses."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Literal
from urllib.parse import unquote

import msgspec

from undrift.core.errors import Invalid

__all__ = [
    "Artifact",
    "ArtifactEntry",
    "ArtifactPage",
    "ArtifactTree",
    "PutArtifact",
    "RootOwner",
    "check_artifact_path",
    "check_root",
]

_ROOT = re.compile(r"(?:m-)?[0-9a-f]{32}")
_PATH_CHARACTERS = 1000
_PATH_BYTES = 2000  # what an index of PostgreSQL holds, whatever the letters
_PART_BYTES = 255  # what a file system holds
_UNSAFE = re.compile(r"[\\#?\x00-\x1f\x7f-\x9f\ud800-\udfff]|^[A-Za-z]:|^\.{1,2}\Z")
_DECODINGS = 5


class Artifact(msgspec.Struct, frozen=True):
    """A file of a run or of a logged model.

    Attributes:
        root: The run or the logged model.
        path: Its name below the root.
        digest: The object that holds its bytes.
        size_bytes: How many there are.
        created_at: When it came.
    """

    root: str
    path: str
    digest: str
    size_bytes: int
    created_at: datetime


class ArtifactEntry(msgspec.Struct, frozen=True):
    """What a list shows of one name.

    Attributes:
        path: The name, below the root.
        kind: ``file`` or ``folder``.
        size_bytes: The size of a file; None for a folder, which would have to be read to know.
        digest: The object that holds a file's bytes; empty for a folder.
    """

    path: str
    kind: Literal["file", "folder"]
    size_bytes: int | None = None
    digest: str = ""


class ArtifactPage(msgspec.Struct, frozen=True):
    """Some entries of a list, in the order of their paths.

    Attributes:
        entries: Files and folders.
        next_after: What to ask for next (``after``); empty on the last page.
    """

    entries: tuple[ArtifactEntry, ...]
    next_after: str = ""


class ArtifactTree(msgspec.Struct, frozen=True):
    """An immutable tree of what was there.

    Attributes:
        digest: The tree in the store.
        files: How many files it holds.
        size_bytes: How many bytes they are.
    """

    digest: str
    files: int
    size_bytes: int


class PutArtifact(msgspec.Struct, frozen=True):
    """A path to put: the object with its bytes is in the store already."""

    path: str
    digest: str
    size_bytes: int


class RootOwner(msgspec.Struct, frozen=True):
    """Whose a root is.

    Attributes:
        project: The project.
        experiment_id: The experiment.
        state: ``active`` or ``deleted``.
    """

    project: str
    experiment_id: int
    state: str


def check_root(root: str) -> str:
    """Return the id of a run or of a logged model when it is well formed.

    Raises:
        Invalid: It is neither.
    """
    if _ROOT.fullmatch(root) is None:
        raise Invalid(
            f"{root[:80]!r} owns no artifacts.",
            next_step="Name a run (32 hexadecimal characters) or a logged model (m- and 32 of them).",
        )
    return root


def check_artifact_path(path: str) -> str:
    r"""Return a path when it is its own only spelling; nothing is repaired.

    A server decodes an address once. What is left must not turn into something else when somebody decodes it again.

    Raises:
        Invalid: It is empty, absolute or too long; has an empty part, ``.`` or ``..``, a backslash, a drive letter,
            ``#``, ``?`` or a control character; is not Unicode in its composed form (NFC); or would be any of these,
            or gain a ``/``, when percent-decoded once more.

    >>> check_artifact_path("plots/Größe 100%.png")
    'plots/Größe 100%.png'
    """
    if reason := _fault(path):
        raise Invalid(
            f"Invalid path: {path[:80]!a} {reason}.",
            next_step="Use names joined by '/', relative to the root, without '.', '..', '\\', '#', '?', drive letters "
            "and control characters, in their plain spelling.",
        )
    return path


def _fault(path: str) -> str:
    if not path:
        return "is empty"
    parts = path.split("/")
    for part in parts:
        spelling = part
        # Decoded until nothing changes: each spelling on the way has to be safe.
        for _ in range(_DECODINGS):
            if not spelling or "/" in spelling or _UNSAFE.search(spelling):
                return "has a part that is empty, leads elsewhere or holds a character that no name may have"
            try:
                decoded = unquote(spelling, errors="strict")
            except UnicodeDecodeError:
                return "is not UTF-8 when it is decoded"
            if decoded == spelling:
                break
            spelling = decoded
        else:
            return "is encoded too often"
        if len(part.encode()) > _PART_BYTES:
            return f"has a part of more than {_PART_BYTES} bytes"
    if len(path) > _PATH_CHARACTERS or len(path.encode()) > _PATH_BYTES:
        return f"has more than {_PATH_CHARACTERS} characters or {_PATH_BYTES} bytes"
    if len(parts) > 100:
        return "has more than 100 parts"
    return "" if unicodedata.is_normalized("NFC", path) else "is not in the composed form of Unicode (NFC)"
