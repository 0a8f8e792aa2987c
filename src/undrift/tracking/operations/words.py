"""What names, values and page tokens in tracking may look like; the limits are those that MLflow's clients know."""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from collections.abc import Iterable, Mapping

import msgspec

from undrift.core.errors import Invalid, NotFound, TooLarge
from undrift.core.ids import check_id

__all__ = [
    "MAX_NAME",
    "check_experiment_name",
    "check_keys",
    "check_tags",
    "find_id",
    "page_offset",
    "page_token",
]

MAX_NAME = 250
_KEY = re.compile(r"[/\w.\- :]*\Z")


def check_keys(keys: Iterable[str], what: str) -> None:
    """Return when every key can name a metric, a parameter or a tag.

    Raises:
        Invalid: One is empty, has other signs than letters, digits and ``_ - . : /`` and spaces, or is no plain path.
        TooLarge: One has more than 250 characters.

    >>> check_keys(["val/loss"], "metric")
    """
    for key in keys:
        if len(key) > MAX_NAME:
            raise TooLarge(
                f"The name {key[:80]!r}… of a {what} exceeds the maximum length of {MAX_NAME} characters.",
                next_step="Choose a shorter one.",
            )
        if not key or _KEY.match(key) is None:
            raise Invalid(
                f"Invalid {what} name: {key!r}. Names may only contain alphanumerics, underscores (_), dashes (-), "
                "periods (.), spaces ( ), colon(:) and slashes (/).",
                next_step="Choose another one.",
            )
        if key.startswith(("/", "../")) or posixpath.normpath(key) != key or key in {".", ".."}:
            raise Invalid(
                f"Invalid {what} name: {key!r}. Names may be treated as files in certain cases, and must not resolve "
                "to other names when treated as such.",
                next_step=f"A form that can be used is {posixpath.normpath(key.lstrip('/'))!r}.",
            )


def check_tags(tags: Mapping[str, str], *, most: int = 8000) -> None:
    """Return when these can be tags.

    Raises:
        Invalid: A name is none that tags can have.
        TooLarge: A name or a value is too long.
    """
    check_keys(tags, "tag")
    for name, value in tags.items():
        if len(value) > most:
            raise TooLarge(
                f"The value of tag {name!r} has {len(value)} characters; the maximum length is {most}.",
                next_step="Keep long texts as artifacts.",
            )


def check_experiment_name(name: str) -> str:
    """Return the name when an experiment can have it.

    Raises:
        Invalid: It is empty, or has characters that nobody can see.
        TooLarge: It has more than 500 characters.
    """
    if len(name) > 500:
        raise TooLarge("The name of an experiment exceeds the maximum length of 500 characters.")
    if not name.strip() or not name.isprintable():
        raise Invalid(f"Invalid experiment name: {name!r}.", next_step="Use at least one visible character.")
    return name


def find_id(run_id: str) -> str:
    """Return the id of a run that has to be there.

    Raises:
        NotFound: No run can have this id.
    """
    try:
        return check_id(run_id)
    except Invalid:
        raise NotFound(f"Run with id={run_id[:80]} not found.", next_step="List runs with `undrift runs`.") from None


def page_offset(token: str) -> int:
    """Return how many rows a page token leaves out.

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
    """Return the token of the page that leaves out so many rows."""
    return base64.b64encode(msgspec.json.encode({"offset": offset})).decode()
