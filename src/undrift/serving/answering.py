"""From a request that was read to its answer: who answers which row, what the models say, what is logged.

Everything here is a plain function of its arguments, so that it runs in the event loop or in a thread alike; what is
counted and written is left to the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import urandom
from time import time_ns
from typing import NamedTuple

import msgspec

from undrift.serving.asks import Ask, predict_reader
from undrift.serving.assignment import placer
from undrift.serving.contract import Coder, Contract
from undrift.serving.frames import encode_predictions, head_of
from undrift.serving.model import ArmName, Route
from undrift.serving.oip import oip_reader
from undrift.serving.runtime import Runtime

__all__ = ["Answer", "LoadedArm", "LoadedRoute", "answer", "oip_body", "predict_body"]


_ID_BYTES = 9
_IDS_AT_ONCE = 256


class _Ids:
    """Makes prediction ids: UUIDv7 as 32 hexadecimal characters, with 72 random bits.

    The randomness is fetched for many ids at a time: fetching it hands the interpreter to another thread, which costs
    more than everything else about an id. For the event loop's thread alone.
    """

    def __init__(self) -> None:
        self._random = ""
        self._at = 0

    def one(self) -> str:
        """Make an id for now."""
        at = self._at
        if at == len(self._random):
            self._random = urandom(_ID_BYTES * _IDS_AT_ONCE).hex()
            at = 0
        self._at = end = at + 2 * _ID_BYTES
        random = self._random
        return f"{time_ns() // 1_000_000:012x}7{random[at : at + 3]}8{random[at + 3 : end]}"


_ids = _Ids()


def _many_ids(rows: int) -> list[str]:
    head = f"{time_ns() // 1_000_000:012x}7"
    random = urandom(_ID_BYTES * rows).hex()
    starts = range(0, len(random), 2 * _ID_BYTES)
    return [f"{head}{random[at : at + 3]}8{random[at + 3 : at + 18]}" for at in starts]


class LoadedArm:
    """An arm whose model is in memory.

    Attributes:
        name: ``champion``, ``canary`` or ``shadow``.
        number: The model version.
        runtime: The model.
        coder: Turns requests into its matrix.
    """

    def __init__(self, name: ArmName, number: int, runtime: Runtime, contract: Contract) -> None:
        self.name = name
        self.number = number
        self.runtime = runtime
        self.coder = Coder(contract, runtime.signature)


class LoadedRoute:
    """A route whose models are in memory: it never changes, so a request keeps the one it began with.

    Args:
        route: The route.
        runtimes: Its models, in the order of its arms.

    Attributes:
        route: The route.
        arms: The champion, then the challenger if there is one.
        contract: What requests must look like: the champion's signature.
        read_predict: Reads the bodies of ``/predict``.
        read_oip: Reads the bodies of the Open Inference Protocol.
    """

    def __init__(self, route: Route, runtimes: Sequence[Runtime]) -> None:
        self.route = route
        self.contract = Contract(runtimes[0].signature)
        self.arms = [
            LoadedArm(arm.name, arm.number, runtime, self.contract)
            for arm, runtime in zip(route.arms, runtimes, strict=True)
        ]
        self.read_predict = predict_reader(self.contract)
        self.read_oip = oip_reader(self.contract)
        challenger = route.challenger
        self.canary_share = challenger.share if challenger is not None and challenger.name == "canary" else 0.0
        self.place = placer(route.endpoint)
        self.both = challenger is not None and (route.compare or challenger.name == "shadow")
        # A shadow that is asked for nothing but its score needs no matrix of its own if both code alike.
        signatures = [runtime.signature.inputs for runtime in runtimes]
        self.one_matrix = signatures[0] == signatures[-1]
        self.head = head_of(
            route.endpoint,
            route.project,
            route.revision,
            self.contract.signature.inputs,
            [(arm.name, arm.number) for arm in self.arms],
        )

    def arm_of_version(self, number: int) -> int | None:
        """Return the place of the arm that is this version; None when it is not on the route."""
        return next((place for place, arm in enumerate(self.arms) if arm.number == number), None)


class Answer(NamedTuple):
    """What is answered, and what is logged of it.

    Attributes:
        loaded: The route that answered.
        ids: Prediction ids, one a row.
        scores: One a row; None where the model gave no finite number.
        arms: The arm of each row, as a place on the route; None when all are the same, namely ``arm``.
        arm: The arm of the first row.
        frame: The payload for the log.
        failed: Rows the other arm failed to score.
    """

    loaded: LoadedRoute
    ids: list[str]
    scores: list[float | None]
    arms: list[int] | None
    arm: int
    frame: bytes
    failed: int


def answer(loaded: LoadedRoute, ask: Ask, *, now: int, arm: int | None = None) -> Answer:
    """Answer a request.

    Args:
        loaded: Who answers.
        ask: What is asked.
        now: Microseconds since 1970.
        arm: The arm that shall answer all rows, as a place on the route; None when the keys decide.
    """
    batch = ask.batch
    rows = batch.rows
    ids = ask.ids
    if ids is None:
        ids = [_ids.one()] if rows == 1 else _many_ids(rows)
    arms: list[int] | None = None
    if arm is None:
        arm = 0
        if loaded.canary_share:
            place, share = loaded.place, loaded.canary_share
            arms = [int(place(key) < share) for key in (ask.keys or ids)]
            arm = arms[0]
            if arms.count(arm) == rows:
                arms = None
    others: list[float | None] | None = None
    failed = 0
    if arms is None and not loaded.both:
        one = loaded.arms[arm]
        scores = _finite(one.runtime.scores(one.coder.matrix(batch)))
    elif loaded.both:
        scores, others, failed = _score_both(loaded, ask, arm, arms)
    else:
        assert arms is not None  # noqa: S101 - the two cases before are all others
        scores = _score_apart(loaded, ask, arms)
    frame = encode_predictions(
        loaded.head,
        answered_at=now,
        ids=ids,
        event_times=ask.event_times,
        arms=arms if arms is not None else [arm] * rows if arm else None,
        scores=scores,
        others=others,
        layout=batch.layout,
        values=batch.values,
    )
    return Answer(loaded, ids, scores, arms, arm, frame, failed)


def _finite(scores: list[float]) -> list[float | None]:
    # JSON has no NaN and no infinity, and a monitor nothing to compute from them: no number is said as no number.
    return [score if score - score == 0.0 else None for score in scores]


def _score_both(
    loaded: LoadedRoute, ask: Ask, arm: int, arms: list[int] | None
) -> tuple[list[float | None], list[float | None], int]:
    matrix = loaded.arms[0].coder.matrix(ask.batch)
    scored: list[list[float | None]] = [[], []]
    failed = 0
    for place, one in enumerate(loaded.arms):
        if place and not loaded.one_matrix:
            matrix = one.coder.matrix(ask.batch)
        try:
            scored[place] = _finite(one.runtime.scores(matrix))
        except Exception:
            # The arm that is only compared must not cost anybody an answer.
            if arms is not None or place == arm:
                raise
            failed = ask.batch.rows
            scored[place] = [None] * failed
    if arms is None:
        return scored[arm], scored[1 - arm], failed
    answered = [scored[one][row] for row, one in enumerate(arms)]
    return answered, [scored[1 - one][row] for row, one in enumerate(arms)], failed


def _score_apart(loaded: LoadedRoute, ask: Ask, arms: list[int]) -> list[float | None]:
    scores: list[float | None] = [None] * len(arms)
    for place, one in enumerate(loaded.arms):
        theirs = [row for row, arm in enumerate(arms) if arm == place]
        matrix = one.coder.matrix(ask.batch)[theirs]
        for row, score in zip(theirs, _finite(one.runtime.scores(matrix)), strict=True):
            scores[row] = score
    return scores


class _Output(msgspec.Struct):
    name: str
    shape: tuple[int]
    datatype: str
    data: list[float | None]


class _Parameters(msgspec.Struct):
    prediction_ids: list[str]
    versions: list[int]
    arms: list[str]
    routing_revision: int


class _OipResponse(msgspec.Struct, omit_defaults=True):
    model_name: str
    model_version: str
    outputs: tuple[_Output]
    parameters: _Parameters
    id: str | None = None


class _PredictResponse(msgspec.Struct):
    endpoint: str
    predictions: list[float | None]
    ids: list[str]
    versions: list[int]
    arms: list[str]
    routing_revision: int


_encode = msgspec.json.Encoder().encode


def _who(made: Answer) -> tuple[list[int], list[str]]:
    known = made.loaded.arms
    if made.arms is None:
        rows = len(made.ids)
        one = known[made.arm]
        return [one.number] * rows, [one.name] * rows
    return [known[arm].number for arm in made.arms], [known[arm].name for arm in made.arms]


def oip_body(made: Answer, request_id: str | None) -> bytes:
    """Return the answer in the form of the Open Inference Protocol.

    ``model_version`` is the version that answered, or the champion's where several did; ``parameters.versions`` says it
    row by row.
    """
    versions, arms = _who(made)
    route = made.loaded.route
    number = made.loaded.arms[made.arm if made.arms is None else 0].number
    output = _Output(made.loaded.contract.signature.output, (len(made.ids),), "FP64", made.scores)
    parameters = _Parameters(made.ids, versions, arms, route.revision)
    return _encode(_OipResponse(route.endpoint, str(number), (output,), parameters, request_id))


def predict_body(made: Answer, request_id: str | None) -> bytes:  # noqa: ARG001 - the same form as oip_body
    """Return the answer of ``/predict``."""
    versions, arms = _who(made)
    route = made.loaded.route
    return _encode(_PredictResponse(route.endpoint, made.scores, made.ids, versions, arms, route.revision))
