"""What a request asks: rows, and the ids, times and keys that go with them. One body, two forms.

``POST /predict/{endpoint}`` is read here; the Open Inference Protocol's form is read by `undrift.serving.oip`. Both
become an `Ask`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import msgspec

from undrift.core.clock import parse_time
from undrift.core.errors import Invalid
from undrift.serving.contract import Batch, Contract, check_rows

__all__ = ["Ask", "Extras", "PredictionId", "ask_of", "decoded", "microseconds", "predict_reader", "wanted_revision"]

_ID = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}\Z"
PredictionId = Annotated[str, msgspec.Meta(pattern=_ID)]
Revision = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SAID = 300


class Extras(msgspec.Struct, forbid_unknown_fields=True):
    """What may go with the rows.

    Attributes:
        prediction_ids: One a row; made by the server when left out. Sent again, an id counts once.
        event_times: ISO 8601, one a row or one for all; now when left out.
        keys: What decides who is on the canary, one a row; the prediction id when left out.
        routing_revision: The server looks for newer routes first when it has not seen this revision yet.
        content_type: Sent by some clients; not used.
    """

    prediction_ids: list[PredictionId] | None = None
    event_times: list[str] | str | None = None
    keys: list[str] | None = None
    routing_revision: Revision | None = None
    content_type: str | None = None


class Ask(NamedTuple):
    """A request, read and checked.

    Attributes:
        batch: The rows.
        ids: Prediction ids the client chose, one a row; None when the server shall make them.
        event_times: Microseconds since 1970, one a row; None when they happen now.
        keys: Assignment keys, one a row; None when the prediction ids are.
        routing_revision: What the client wants the server to have seen; 0 when it does not matter.
        request_id: Given back as it was sent.
    """

    batch: Batch
    ids: list[str] | None
    event_times: list[int] | None
    keys: list[str] | None
    routing_revision: int
    request_id: str | None


def ask_of(batch: Batch, extras: Extras | None, request_id: str | None = None) -> Ask:
    """Check what goes with the rows against their number.

    Raises:
        Invalid: There are more or fewer ids, times or keys than rows, an id comes twice, or a time is none.
    """
    if extras is None:
        return Ask(batch, None, None, None, 0, request_id)
    rows = batch.rows
    ids = _one_a_row("prediction ids", extras.prediction_ids, rows)
    if ids is not None and len(ids) > 1 and len(set(ids)) != len(ids):
        raise Invalid("A prediction id comes twice.", next_step="Give each row an id of its own, or leave them out.")
    moments: list[int] | None = None
    if isinstance(extras.event_times, str):
        moments = [microseconds(parse_time(extras.event_times))] * rows
    elif (times := _one_a_row("event times", extras.event_times, rows)) is not None:
        moments = [microseconds(parse_time(time)) for time in times]
    keys = _one_a_row("keys", extras.keys, rows)
    return Ask(batch, ids, moments, keys, extras.routing_revision or 0, request_id)


def _one_a_row(what: str, values: list[str] | None, rows: int) -> list[str] | None:
    if values is not None and len(values) != rows:
        raise Invalid(f"There are {len(values)} {what} for {rows} rows.", next_step="Send one a row, or none.")
    return values


def microseconds(moment: datetime) -> int:
    """Return a moment as microseconds since 1970, exactly."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def decoded(decode: Callable[[bytes], Any], body: bytes) -> Any:
    """Decode a body that a client sent.

    Raises:
        Invalid: It is not JSON, or not of the form that was asked for; the sentence says where.
    """
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:_SAID]
        raise Invalid(f"The body cannot be read: {said}.", next_step="Send JSON in the form the docs give.") from None


class _Revision(msgspec.Struct):
    routing_revision: int = 0
    parameters: dict[str, Any] = {}


def wanted_revision(body: bytes) -> int:
    """Return the routing revision a body asks for, whatever else is in it; 0 when none."""
    try:
        found = msgspec.json.decode(body, type=_Revision)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    inside = found.parameters.get("routing_revision")
    wanted = max(found.routing_revision, inside if type(inside) is int else 0)
    return wanted if wanted < 2**63 else 0


def predict_reader(contract: Contract) -> Callable[[bytes], Ask]:
    """Return the function that reads the bodies of ``POST /predict/{endpoint}``.

    A body is ``{"rows": [{column: value, …}, …]}`` with, optionally, ``ids``, ``event_times``, ``keys`` and
    ``routing_revision``. The function raises Invalid, and TooLarge for more rows than a request may have.
    """
    row: Any = contract.row
    body_type = msgspec.defstruct(
        "PredictBody",
        [
            ("rows", list[row]),
            ("ids", list[PredictionId] | None, None),
            ("event_times", list[str] | str | None, None),
            ("keys", list[str] | None, None),
            ("routing_revision", Revision | None, None),
        ],
        forbid_unknown_fields=True,
    )
    decode = msgspec.json.Decoder(body_type).decode
    careless = msgspec.json.Decoder(dict[str, Any]).decode
    as_tuple = msgspec.structs.astuple

    def read(body: bytes) -> Ask:
        try:
            found: Any = decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _careful(contract, decoded(careless, body))
        rows = found.rows
        if len(rows) == 1:
            batch = Batch(1, "flat", as_tuple(rows[0]))
        else:
            check_rows(len(rows))
            batch = Batch(len(rows), "rows", [as_tuple(one) for one in rows])
        if found.ids is found.event_times is found.keys is found.routing_revision is None:
            return Ask(batch, None, None, None, 0, None)
        return ask_of(batch, Extras(found.ids, found.event_times, found.keys, found.routing_revision))

    return read


def _careful(contract: Contract, body: dict[str, Any]) -> Ask:
    known = ("rows", "ids", "event_times", "keys", "routing_revision")
    unknown = sorted(name[:100] for name in body if name not in known)
    if unknown:
        raise Invalid(f"The body has unknown keys: {', '.join(unknown[:10])}.", next_step=f"Known: {', '.join(known)}.")
    if "rows" not in body:
        raise Invalid("The body has no 'rows'.", next_step="Send a list of objects with named columns, one a row.")
    rows = contract.careful_rows(body["rows"])
    given = {name: value for name, value in body.items() if name != "rows" and value is not None}
    if "ids" in given:
        given["prediction_ids"] = given.pop("ids")
    try:
        extras = msgspec.convert(given, Extras)
    except msgspec.ValidationError as error:
        raise Invalid(f"The body cannot be read: {str(error)[:_SAID]}.") from None
    return ask_of(Batch(len(rows), "rows", rows), extras)
