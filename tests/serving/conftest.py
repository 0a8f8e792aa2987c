"""Small models, routes to them, and a server that is asked without a network."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from types import SimpleNamespace

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from undrift.core import ReplayClock, SystemClock
from undrift.core.errors import Unavailable
from undrift.registry import Field, RegisterModel, RegisterVersion, Signature, register_model, register_version
from undrift.serving import Arm, Route, RoutingTable
from undrift.serving.app import App, build_app

START = datetime(2013, 1, 1, tzinfo=UTC)

FLIGHTS = Signature(
    (
        Field("distance", "float"),
        Field("hour", "int"),
        Field("holiday", "bool"),
        Field("carrier", "string", True, ("AA", "UA")),
        Field("wind", "float", True),
    ),
    "classification",
    "late",
)
NUMBERS = Signature((Field("a", "float"), Field("b", "float")), "classification", "late")


def linear_model(weights, bias: float, *, columns: int = 2) -> bytes:
    """ONNX that gives bias + weights * row, as probabilities [1 - p, p] or as one column [p]."""
    width = len(weights)
    matrix = np.array(weights, dtype=np.float32).reshape(width, 1)
    constants = [numpy_helper.from_array(matrix, "w"), numpy_helper.from_array(np.array([bias], np.float32), "b")]
    constants.append(numpy_helper.from_array(np.array([1.0], np.float32), "one"))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["p"])]
    if columns == 2:
        nodes.append(helper.make_node("Sub", ["one", "p"], ["q"]))
        nodes.append(helper.make_node("Concat", ["q", "p"], ["both"], axis=1))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("both" if columns == 2 else "p", TensorProto.FLOAT, [None, columns])],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def store_artifact(repository, signature=NUMBERS, *, weights=None, bias=0.5, model=None) -> str:
    """Store a model that gives bias + weights * row; without weights, the bias alone."""
    weights = [0.0] * len(signature.inputs) if weights is None else weights
    model = linear_model(weights, bias) if model is None else model
    return repository.trees.edit(None, {"model.onnx": model, "signature.json": msgspec.json.encode(signature)})


def make_route(endpoint="late", *, revision=1, arms, compare=False) -> Route:
    return Route(endpoint, "flights", "late", revision, tuple(arms), compare, START, "ada", "test", {})


class Source:
    """A route source that is set by hand, and can be away."""

    def __init__(self, repository):
        self.repository = repository
        self.routes = {}
        self.away = False
        self.asked = 0

    def put(self, *routes):
        for route in routes:
            self.routes[route.endpoint] = route
        return self

    def champion(self, endpoint="late", *, number=1, revision=1, **artifact):
        stored = store_artifact(self.repository, **artifact)
        return self.put(make_route(endpoint, revision=revision, arms=[Arm("champion", number, stored, 1.0)]))

    def table(self) -> RoutingTable:
        self.asked += 1
        if self.away:
            raise Unavailable("The database is away.")
        return RoutingTable(max((one.revision for one in self.routes.values()), default=0), dict(self.routes))


@pytest.fixture
def source(repository):
    return Source(repository)


@pytest.fixture
def make_app(tmp_path):
    """Make servers on one log and one cache; they are closed in the end."""
    made: list[App] = []

    def make(source, **given):
        clock = given.pop("clock", None) or SystemClock()
        app = build_app(source, tmp_path / "log", tmp_path / "cache", clock, **given)
        made.append(app)
        return app

    yield make
    for app in made:
        app.close()


class Headers(dict):
    def get_all(self, name):
        return [self[name]] if name in self else []


class Scope:
    def __init__(self, method, path, headers):
        self.method = method
        self.path = path
        self.headers = Headers(headers)


class Proto:
    """What granian gives: the body to come, and where the answer goes."""

    def __init__(self, body: bytes):
        self._body = body
        self.status = None
        self.headers = {}
        self.body = b""

    async def __call__(self):
        await asyncio.sleep(0)
        return self._body

    async def __aiter__(self):
        for start in range(0, len(self._body), 1000):
            yield self._body[start : start + 1000]

    def response_bytes(self, status, headers, body):
        assert self.status is None, "answered twice"
        self.status, self.headers, self.body = status, dict(headers), body

    @property
    def json(self):
        return json.loads(self.body)


def in_scope(method, path, headers) -> Scope:
    return Scope(method, path, {"host": "localhost:7471", "content-type": "application/json"} | headers)


async def asked(app, method, path, body=b"", **headers) -> Proto:
    """Ask once, inside a running loop."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    plain = {"host": "localhost:7471"}
    if method == "POST":
        plain |= {"content-type": "application/json", "content-length": str(len(body))}
    given = plain | {name.replace("_", "-"): value for name, value in headers.items()}
    proto = Proto(body)
    await app.__rsgi__(Scope(method, path, {k: v for k, v in given.items() if v is not None}), proto)
    return proto


def ask(app, method, path, body=b"", **headers) -> Proto:
    """Ask a server once, without a network."""
    return asyncio.run(asked(app, method, path, body, **headers))


def predict(app, rows, endpoint="late", **extras) -> Proto:
    return ask(app, "POST", f"/predict/{endpoint}", {"rows": rows} | extras)


@pytest.fixture
def serving():
    """The helpers above, for tests: they are no package that could be imported from."""
    return SimpleNamespace(
        FLIGHTS=FLIGHTS,
        NUMBERS=NUMBERS,
        START=START,
        Source=Source,
        ask=ask,
        asked=asked,
        linear_model=linear_model,
        make_route=make_route,
        predict=predict,
        proto=Proto,
        scope=in_scope,
        store_artifact=store_artifact,
    )


@pytest.fixture
def replay_clock():
    return ReplayClock(START)


@pytest.fixture
def register(make_ctx):
    """Register versions of the model 'late' in the project 'flights', and return their numbers."""

    def make(ctx, *signatures, bias=0.5):
        register_model(ctx, RegisterModel("flights", "late", "ops@example.com"))
        numbers = []
        for place, signature in enumerate(signatures):
            stored = store_artifact(ctx.repository, signature, bias=bias + place / 100)
            run_id = f"{len(numbers) + int(bias * 1000):032x}"
            made = register_version(ctx, RegisterVersion("flights", "late", run_id, stored, signature))
            numbers.append(made.number)
        return numbers

    return make
