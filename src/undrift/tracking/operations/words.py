"""What names, values and page tokens in tracking may look like; the limits are those that MLflow's clients know."""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from collections.abc import Iterable, Mapping

import msgspec

from undrift.core.errors import Invalid, NotFound, TooLarge
from undrift.core.filters import can_be_kept
from undrift.core.ids import check_id
from undrift.tracking.model import MetricSeries, RunLink

__all__ = [
    "MAX_NAME",
    "MAX_NUMBER",
    "check_experiment_name",
    "check_keys",
    "check_links",
    "check_series",
    "check_tags",
    "check_text",
    "cleaned",
    "find_id",
    "page_offset",
    "page_token",
]

MAX_NAME = 250
MAX_NUMBER = 10**18 - 1
"""Of an experiment: MLflow's own have 18 digits."""

_WHOLE = 2**63
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
            usable = posixpath.normpath(f"/{key}").strip("/")
            raise Invalid(
                f"Invalid {what} name: {key!r}. Names may be treated as files in certain cases, and must not resolve "
                "to other names when treated as such.",
                next_step=f"A form that can be used is {usable!r}." if usable else "Choose another one.",
            )


def check_text(text: str, what: str, most: int) -> None:
    """Return when a text can be kept.

    Raises:
        Invalid: It has a character that not every database keeps.
        TooLarge: It is longer than it may be.

    >>> check_text("late", "The name", 10)
    """
    if len(text) > most:
        raise TooLarge(f"{what} has {len(text)} characters; the maximum length is {most}.")
    if not can_be_kept(text):
        raise Invalid(f"{what} holds a character that cannot be kept.", next_step="Leave NUL and half characters out.")


def cleaned(text: str, most: int | None = None) -> str:
    """Return what people read and nothing depends on, as it can be kept: cut, with signs for what no text can have.

    >>> cleaned("killed", 4)
    'kill'
    """
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")[:most]


def check_links(links: Iterable[RunLink]) -> None:
    """Return when these can be links.

    Raises:
        Invalid: A text cannot be kept.
        TooLarge: A text is too long.
    """
    for link in links:
        check_text(link.name, "The name of a link", 500)
        check_text(link.ref, f"The ref of the link {link.name!r}", 250)
        check_text(link.kind, f"The kind of the link {link.name!r}", 40)
        check_text(link.context, f"The context of the link {link.name!r}", 500)


def check_series(all_series: Iterable[MetricSeries]) -> None:
    """Return when these points can be kept.

    Raises:
        Invalid: Columns differ in length, or a name, step or time cannot be kept.
        TooLarge: A name is too long.
    """
    for series in all_series:
        check_keys([series.name], "metric")
        if not len(series.steps) == len(series.times_ms) == len(series.values) or not series.steps:
            raise Invalid(
                f"The columns of metric {series.name!r} have different lengths, or none.",
                next_step="Give one step, one time and one value for each point.",
            )
        if min(series.times_ms) < 0 or max(series.times_ms) >= _WHOLE:
            raise Invalid(f"A time of metric {series.name!r} is no number of milliseconds since 1970.")
        if min(series.steps) < -_WHOLE or max(series.steps) >= _WHOLE:
            raise Invalid(f"A step of metric {series.name!r} lies outside -2^63 to 2^63 - 1.")
        if series.model_id or series.dataset_name or series.dataset_digest:
            check_text(series.model_id, f"The model that metric {series.name!r} was measured on", 34)
            check_text(series.dataset_name, f"The dataset that metric {series.name!r} was measured on", 500)
            check_text(series.dataset_digest, f"The digest that metric {series.name!r} was measured on", 64)


def check_tags(tags: Mapping[str, str], *, most: int = 8000) -> None:
    """Return when these can be tags.

    Raises:
        Invalid: A name is none that tags can have, or a value cannot be kept.
        TooLarge: A name or a value is too long.
    """
    check_keys(tags, "tag")
    for name, value in tags.items():
        if len(value) > most:
            raise TooLarge(
                f"The value of tag {name!r} has {len(value)} characters; the maximum length is {most}.",
                next_step="Keep long texts as artifacts.",
            )
        check_text(value, f"The value of tag {name!r}", most)


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
