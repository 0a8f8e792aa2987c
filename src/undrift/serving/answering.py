"""From a request that was read to its answer: who answers which row, what the models say, what is logged.

Everything here is a plain function of its arguments, so that it runs in the event loop or in a thread alike; what is
counted and written is left to the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import urandom
from time import time_ns

import msgspec

from undrift.serving.asks import Ask, predict_reader
from undrift.serving.assignment import placer
from undrift.serving.contract import Coder, Contract
from undrift.serving.frames import encode_predictions, head_of
from undrift.serving.model import ArmName, Route
from undrift.serving.oip import oip_reader
from undrift.serving.runtime import Runtime

__all__ = ["Draft", "LoadedArm", "LoadedRoute", "oip_body", "predict_body", "score_together"]


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


class Draft:
    """A request on its way to its answer.

    Attributes:
        loaded: The route that answers.
        ask: What is asked.
        ids: Prediction ids, one a row.
        arm: The arm of the first row, as a place on the route.
        arms: The arm of each row; None when all are ``arm``.
        scores: One a row, once scored; None where the model gave no finite number.
        others: What the arm that does not answer said; None when it was not asked.
        failed: Rows that arm failed to score.
    """

    __slots__ = ("arm", "arms", "ask", "failed", "ids", "loaded", "others", "scores")

    def __init__(self, loaded: LoadedRoute, ask: Ask, arm: int | None) -> None:
        """Decide who answers: ``arm``, or the keys when it is None."""
        rows = ask.batch.rows
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
        self.loaded = loaded
        self.ask = ask
        self.ids = ids
        self.arm = arm
        self.arms = arms
        self.scores: list[float | None] = []
        self.others: list[float | None] | None = None
        self.failed = 0

    @property
    def plain(self) -> bool:
        """Whether one arm is asked, for all rows."""
        return self.arms is None and not self.loaded.both

    def score(self) -> None:
        """Ask the models."""
        loaded = self.loaded
        if self.arms is None and not loaded.both:
            one = loaded.arms[self.arm]
            self.scores = _finite(one.runtime.scores(one.coder.matrix(self.ask.batch)))
        elif loaded.both:
            self._score_both()
        else:
            self._score_apart(self.arms or [])

    def _score_both(self) -> None:
        loaded, batch, arms = self.loaded, self.ask.batch, self.arms
        matrix = loaded.arms[0].coder.matrix(batch)
        scored: list[list[float | None]] = [[], []]
        for place, one in enumerate(loaded.arms):
            if place and not loaded.one_matrix:
                matrix = one.coder.matrix(batch)
            try:
                scored[place] = _finite(one.runtime.scores(matrix))
            except Exception:
                # The arm that is only compared must not cost anybody an answer.
                if arms is not None or place == self.arm:
                    raise
                self.failed = batch.rows
                scored[place] = [None] * batch.rows
        if arms is None:
            self.scores, self.others = scored[self.arm], scored[1 - self.arm]
        else:
            self.scores = [scored[one][row] for row, one in enumerate(arms)]
            self.others = [scored[1 - one][row] for row, one in enumerate(arms)]

    def _score_apart(self, arms: list[int]) -> None:
        scores: list[float | None] = [None] * len(arms)
        for place, one in enumerate(self.loaded.arms):
            theirs = [row for row, arm in enumerate(arms) if arm == place]
            matrix = one.coder.matrix(self.ask.batch)[theirs]
            for row, score in zip(theirs, _finite(one.runtime.scores(matrix)), strict=True):
                scores[row] = score
        self.scores = scores

    def frame(self, now: int) -> bytes:
        """Return what is logged of it, given microseconds since 1970."""
        ask, arms = self.ask, self.arms
        if arms is None and self.arm:
            arms = [self.arm] * len(self.ids)
        return encode_predictions(
            self.loaded.head,
            answered_at=now,
            ids=self.ids,
            event_times=ask.event_times,
            arms=arms,
            scores=self.scores,
            others=self.others,
            layout=ask.batch.layout,
            values=ask.batch.values,
        )


def score_together(drafts: Sequence[Draft]) -> None:
    """Ask the models for many requests; those that want the same model are one question.

    Scoring eight rows at a time costs little more than one. A model's numbers may differ in the last digits with the
    number of rows it is asked at a time, as they do between machines; what is logged is what was answered.
    """
    plain: dict[LoadedArm, list[Draft]] = {}
    for draft in drafts:
        if draft.plain:
            plain.setdefault(draft.loaded.arms[draft.arm], []).append(draft)
        else:
            draft.score()
    for arm, alike in plain.items():
        if len(alike) == 1:
            alike[0].score()
            continue
        scores = _finite(arm.runtime.scores(arm.coder.together([draft.ask.batch for draft in alike])))
        at = 0
        for draft in alike:
            end = at + draft.ask.batch.rows
            draft.scores = scores[at:end]
            at = end


def _finite(scores: list[float]) -> list[float | None]:
    # JSON has no NaN and no infinity, and a monitor nothing to compute from them: no number is said as no number.
    return [score if score - score == 0.0 else None for score in scores]


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


def _who(made: Draft) -> tuple[list[int], list[str]]:
    known = made.loaded.arms
    if made.arms is None:
        rows = len(made.ids)
        one = known[made.arm]
        return [one.number] * rows, [one.name] * rows
    return [known[arm].number for arm in made.arms], [known[arm].name for arm in made.arms]


def oip_body(made: Draft) -> bytes:
    """Return the answer in the form of the Open Inference Protocol.

    ``model_version`` is the version that answered, or the champion's where several did; ``parameters.versions`` says it
    row by row.
    """
    versions, arms = _who(made)
    route = made.loaded.route
    number = made.loaded.arms[made.arm if made.arms is None else 0].number
    output = _Output(made.loaded.contract.signature.output, (len(made.ids),), "FP64", made.scores)
    parameters = _Parameters(made.ids, versions, arms, route.revision)
    return _encode(_OipResponse(route.endpoint, str(number), (output,), parameters, made.ask.request_id))


def predict_body(made: Draft) -> bytes:
    """Return the answer of ``/predict``."""
    versions, arms = _who(made)
    route = made.loaded.route
    return _encode(_PredictResponse(route.endpoint, made.scores, made.ids, versions, arms, route.revision))
