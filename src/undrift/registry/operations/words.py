"""What operations of the registry share: how to find what is named, and page tokens."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from undrift.core.errors import Conflict, Invalid, NotFound
from undrift.registry import records
from undrift.registry.model import Model, ModelVersion, check_model_name

__all__ = ["ListVersions", "find_model_named", "find_version_numbered", "page_offset", "page_token", "retired"]


class ListVersions(msgspec.Struct, frozen=True):
    """Of which model, at most so many (1 to 1,000), newest first."""

    project: str
    model: str
    limit: int = 100


def find_model_named(tx: Any, project: str, name: str, *, lock: bool = False) -> Model:
    """Return a model by its name, in whatever form Unicode writes it.

    Args:
        tx: The transaction.
        project: Whose it is.
        name: Its name.
        lock: Hold it until the transaction ends, to change something of it.

    Raises:
        NotFound: There is none.
    """
    try:
        model = records.find_model(tx, project, check_model_name(name), lock=lock)
    except Invalid:
        # What cannot be a name names nothing.
        model = None
    if model is None:
        known = [one.name for one in records.list_models(tx, project)][:20]
        shown = name[:80].encode(errors="replace").decode()
        raise NotFound(
            f"There is no model {shown!r} in project {project[:100]!r}.",
            next_step=f"Known are: {', '.join(known)}." if known else "Declare one in project.py and run `undrift up`.",
            model=shown,
            project=project[:100],
        )
    return model


def find_version_numbered(tx: Any, model: Model, number: int) -> ModelVersion:
    """Return a version by its number.

    Raises:
        NotFound: There is none, or it was deleted.
    """
    version = records.find_version(tx, model.id, number=number, deleted=True)
    if version is None:
        newest = records.next_number(tx, model.id) - 1
        raise NotFound(
            f"Model {model.name!r} has no version {number}.",
            next_step=f"It has versions 1 to {newest}." if newest else "No version was registered yet.",
            model=model.name,
            version=number,
        )
    if version.state == "deleted":
        raise NotFound(
            f"Version {number} of {model.name!r} was deleted.",
            next_step="Its number is not given again; `undrift models as-of` still tells what it was.",
            model=model.name,
            version=number,
        )
    return version


def retired(version: ModelVersion) -> Conflict:
    """Return the error of using a version that is retired."""
    return Conflict(
        f"Version {version.number} of {version.model!r} is retired: {version.state_reason}",
        next_step="Choose another version; a retired one is kept for the record only.",
    )


def page_offset(token: str) -> int:
    """Return how many results a page token leaves out.

    Raises:
        Invalid: It is not a token that was given out.

    >>> page_offset(page_token(20)), page_offset("")
    (20, 0)
    """
    if not token:
        return 0
    try:
        offset = msgspec.json.decode(base64.b64decode(token, validate=True), type=dict[str, int])["offset"]
        if 0 <= offset < 2**31:
            return offset
    except (binascii.Error, msgspec.MsgspecError, KeyError, ValueError):
        pass
    raise Invalid(f"Invalid page token: {token[:80]!r}.", next_step="Give the one that the page before had, unchanged.")


def page_token(offset: int) -> str:
    """Return the token of the page that leaves out so many results."""
    return base64.b64encode(msgspec.json.encode({"offset": offset})).decode()
