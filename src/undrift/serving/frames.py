"""What a frame of the prediction log says: the rows of one answered request, or how many could not be logged.

Frames are msgpack arrays whose first item is the kind. What does not change while a route stands (endpoint, columns,
arms) is encoded once, as a *head*, and copied into every frame: a file can be read from any frame on, without the
database.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgspec

from undrift.registry import Field

__all__ = ["Head", "Layout", "Loss", "Predictions", "decode", "encode_loss", "encode_predictions", "head_of"]

Layout = Literal["flat", "rows", "columns"]
"""How the values of a frame lie: row after row in one list, a list of rows, or a list of columns."""


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What all frames of one route say.

    Attributes:
        endpoint: Where the predictions were made.
        project: Whose the endpoint is.
        revision: Of the route.
        columns: Names of the values, in their order.
        types: ``float``, ``int``, ``bool`` or ``string``, one a column.
        arms: Name and version of each arm, the champion first.
    """

    endpoint: str
    project: str
    revision: int
    columns: tuple[str, ...]
    types: tuple[str, ...]
    arms: tuple[tuple[str, int], ...]


class Predictions(NamedTuple):
    """The rows of one answered request.

    Attributes:
        head: What all frames of the route say.
        answered_at: Microseconds since 1970.
        ids: Prediction ids, one a row.
        event_times: Microseconds since 1970, one a row; None when all are ``answered_at``.
        arms: Which arm answered, one a row, as a place in ``head.arms``; None when all are the first.
        scores: What was answered.
        others: What the other arm said, where there is one; None when it was not asked.
        layout: How the values lie.
        values: What was sent, before it was encoded for the model.
    """

    head: Head
    answered_at: int
    ids: list[str]
    event_times: list[int] | None
    arms: list[int] | None
    scores: list[float | None]
    others: list[float | None] | None
    layout: Layout
    values: list[Any]

    def columns(self) -> list[Sequence[Any]]:
        """Return the values, one sequence a column."""
        if self.layout == "columns":
            return self.values
        if self.layout == "rows":
            return list(zip(*self.values, strict=True))
        width = len(self.head.columns)
        return [self.values[place::width] for place in range(width)]


class _Predictions(msgspec.Struct, array_like=True, tag=1, tag_field="kind"):
    """As it is written."""

    head: msgspec.Raw
    answered_at: int
    ids: list[str]
    event_times: list[int] | None
    arms: list[int] | None
    scores: list[float | None]
    others: list[float | None] | None
    layout: Layout
    values: list[Any]


class Loss(msgspec.Struct, frozen=True, array_like=True, tag=2, tag_field="kind"):
    """So many predictions of an endpoint were answered but could not be logged before this frame."""

    endpoint: str
    project: str
    rows: int


_encoder = msgspec.msgpack.Encoder()
_decode = msgspec.msgpack.Decoder(_Predictions | Loss).decode
_decode_head = msgspec.msgpack.Decoder(Head).decode


@lru_cache(maxsize=64)
def _head(encoded: bytes) -> Head:
    # Frame after frame has the same one; read anew it would be most of a frame's memory.
    head: Head = _decode_head(encoded)
    return head


def head_of(
    endpoint: str, project: str, revision: int, inputs: Sequence[Field], arms: Sequence[tuple[str, int]]
) -> msgspec.Raw:
    """Encode the head of a route's frames."""
    head = Head(
        endpoint,
        project,
        revision,
        tuple(field.name for field in inputs),
        tuple(field.type for field in inputs),
        tuple(arms),
    )
    return msgspec.Raw(_encoder.encode(head))


def encode_predictions(
    head: msgspec.Raw,
    *,
    answered_at: int,
    ids: Sequence[str],
    event_times: Sequence[int] | None,
    arms: Sequence[int] | None,
    scores: Sequence[float | None],
    others: Sequence[float | None] | None,
    layout: Layout,
    values: Sequence[Any],
) -> bytes:
    """Encode the rows of a request; see `Predictions` for the arguments."""
    return _encoder.encode((1, head, answered_at, ids, event_times, arms, scores, others, layout, values))


def encode_loss(endpoint: str, project: str, rows: int) -> bytes:
    """Encode how many predictions could not be logged."""
    return _encoder.encode((2, endpoint, project, rows))


def decode(payload: bytes) -> Predictions | Loss:
    """Read a frame.

    Raises:
        msgspec.DecodeError: It says something else: it was written by another version.
    """
    frame: _Predictions | Loss = _decode(payload)
    if isinstance(frame, Loss):
        return frame
    return Predictions(
        _head(bytes(frame.head)),
        frame.answered_at,
        frame.ids,
        frame.event_times,
        frame.arms,
        frame.scores,
        frame.others,
        frame.layout,
        frame.values,
    )
