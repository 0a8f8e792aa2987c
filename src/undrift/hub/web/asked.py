"""What a page was asked for: read from its address, and written into the addresses it links to.

Everything that a page shows follows from its address, so that every view is a link.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl, urlencode

import msgspec

from undrift.core.errors import Invalid

__all__ = [
    "COLUMNS",
    "CompareAsked",
    "CurvesAsked",
    "DiffAsked",
    "ExperimentsAsked",
    "RunAsked",
    "RunsAsked",
    "link",
    "pairs_of",
    "read_asked",
]

COLUMNS = 12
"""At most so many columns of metrics are shown, and as many of parameters."""

_MOST_PAIRS = 300

View = Literal["active", "deleted", "all"]
Axis = Literal["step", "time", "elapsed"]
Smooth = Annotated[float, msgspec.Meta(ge=0, le=0.99)]
T = TypeVar("T", bound=msgspec.Struct)


class ExperimentsAsked(msgspec.Struct, frozen=True):
    """Which experiments: of all projects, a few of each; or of one project, searched.

    Attributes:
        project: The project.
        filter: What has to hold.
        view: Those that are active, deleted, or all.
        page: Where the page begins.
    """

    project: str = ""
    filter: str = ""
    view: View = "active"
    page: str = ""


class RunsAsked(msgspec.Struct, frozen=True):
    """Which runs of an experiment, in which order, with which columns.

    Attributes:
        filter: What has to hold.
        order: By what, such as ``metrics.`loss` DESC``; the newest first when left out.
        view: Those that are active, deleted, or all.
        page: Where the page begins.
        columns: ``chosen`` when metrics and parameters say all columns there are to be.
        metric: Metrics to show.
        parameter: Parameters to show.
        find: Part of a name to look for among those that could be shown.
    """

    filter: str = ""
    order: str = ""
    view: View = "active"
    page: str = ""
    columns: Literal["", "chosen"] = ""
    metric: tuple[str, ...] = ()
    parameter: tuple[str, ...] = ()
    find: str = ""


class RunAsked(msgspec.Struct, frozen=True):
    """What to show of a run.

    Attributes:
        metric: Metrics whose curves are drawn; some are chosen when left out.
        x: What the curves are drawn over.
        log: Whether values are drawn on a logarithmic scale.
        smooth: Weight of the past in the smoothed curve, 0 (none) to 0.99.
        find: Part of the names of parameters, metrics and tags to list.
        model: Which of its logged models the artifacts are listed of; those of the run when left out.
        folder: Which folder of the artifacts to list.
        after: Where that list goes on.
    """

    metric: tuple[str, ...] = ()
    x: Axis = "step"
    log: bool = False
    smooth: Smooth = 0.0
    find: str = ""
    model: str = ""
    folder: str = ""
    after: str = ""


class CompareAsked(msgspec.Struct, frozen=True):
    """Which runs to compare, and what to draw of them.

    Attributes:
        run: Their ids; the first is what the others are compared with.
        alike: Whether to list what is the same in all of them, too.
        limit: At most so many rows of each section; a number that suits how many runs there are when left out.
        metric: Metrics whose curves are drawn.
        x: What the curves are drawn over.
        log: Whether values are drawn on a logarithmic scale.
        smooth: Weight of the past in the smoothed curve, 0 (none) to 0.99.
        axis: What the parallel coordinates are drawn over, such as ``parameters.depth``.
        across: What the scatter is drawn over.
        up: What the scatter shows.
    """

    run: tuple[str, ...] = ()
    alike: bool = False
    limit: int = 0
    metric: tuple[str, ...] = ()
    x: Axis = "step"
    log: bool = False
    smooth: Smooth = 0.0
    axis: tuple[str, ...] = ()
    across: str = ""
    up: str = ""


class CurvesAsked(msgspec.Struct, frozen=True):
    """Points of one metric of some runs."""

    metric: str
    run: tuple[str, ...] = ()


class DiffAsked(msgspec.Struct, frozen=True):
    """A file of the code of two runs."""

    before: str
    after: str
    path: str


def read_asked(kind: type[T], query: bytes) -> T:
    """Read what was asked from a query string; empty values are as if left out.

    Raises:
        Invalid: It is none, a name is unknown, a single value is given twice, or a value does not fit.
    """
    try:
        pairs = parse_qsl(query.decode("ascii"), errors="strict", max_num_fields=_MOST_PAIRS)
    except ValueError:
        raise Invalid(
            f"The query string is not percent-encoded UTF-8, or has more than {_MOST_PAIRS} parameters."
        ) from None
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name not in fields:
            raise Invalid(f"This page does not know {name[:80]}.", next_step=f"It takes {', '.join(fields)}.")
        if fields[name].default == ():
            # The same twice says nothing new.
            if value not in given.setdefault(name, []):
                given[name].append(value)
        elif name in given:
            raise Invalid(f"The parameter {name!r} is given twice.", next_step="Give it once.")
        else:
            given[name] = value
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        said = str(error).replace(" - at `$.", " in `")
        raise Invalid(f"The address does not fit this page: {said}.", next_step="Go back and follow a link.") from None


def pairs_of(asked: msgspec.Struct, /, **changes: Any) -> list[tuple[str, str]]:
    """Return the names and values of the query string of a view, with changes; what is as usual is left out."""
    pairs: list[tuple[str, str]] = []
    for field in msgspec.structs.fields(asked):
        value = changes.get(field.name, getattr(asked, field.name))
        if isinstance(value, tuple):
            pairs.extend((field.encode_name, one) for one in value)
        elif isinstance(value, bool):
            pairs.extend([(field.encode_name, "true")] if value else [])
        elif value != field.default:
            pairs.append((field.encode_name, f"{value:g}" if isinstance(value, float) else str(value)))
    return pairs


def link(path: str, asked: msgspec.Struct, /, **changes: Any) -> str:
    """Return the address of a view, with changes.

    >>> link("/runs/flights/1", RunsAsked(filter="metrics.auc > 0.9"), view="deleted")
    '/runs/flights/1?filter=metrics.auc+%3E+0.9&view=deleted'
    """
    query = urlencode(pairs_of(asked, **changes))
    return f"{path}?{query}" if query else path
