"""A model, versions of it, and other people to ask."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from undrift.core import Actor, ReplayClock
from undrift.events import ListEvents, list_events
from undrift.registry import (
    Field,
    MoveAlias,
    RegisterModel,
    RegisterVersion,
    Signature,
    move_alias,
    register_model,
    register_version,
)

START = datetime(2013, 1, 1, tzinfo=UTC)
SIGNATURE = Signature((Field("temp", "float", nullable=True),), "classification", "late")


@pytest.fixture
def on(database, make_ctx):
    """Make a context on both engines: who asks, and on which day after the start."""

    def make(name="ada", day=0, kind="person"):
        return make_ctx(database, actor=Actor(name, kind), clock=ReplayClock(START + timedelta(days=day)))

    return make


@pytest.fixture
def late(on):
    """The model `late` of project `flights`."""
    return register_model(on(), RegisterModel("flights", "late", "ops@example.com"))


@pytest.fixture
def add(repository, late):
    """Register a version of `late`; files are what its tree holds."""

    def register(ctx, files=None, **given):
        fixed = {"project": "flights", "model": "late"}
        if files is not None:
            fixed["artifact"] = repository.trees.edit(None, files)
        elif "artifact" not in given:
            fixed |= {"artifact": repository.trees.edit(None, {"model.onnx": b"model"}), "signature": SIGNATURE}
        return register_version(ctx, RegisterVersion(**(fixed | given)))

    return register


@pytest.fixture
def move():
    """Move an alias of `late`."""

    def to(ctx, number, alias="champion", reason="It is better.", **given):
        return move_alias(ctx, MoveAlias("flights", "late", alias, number, reason, **given))

    return to


@pytest.fixture
def told():
    """The types and data of the events so far, oldest first."""

    def read(ctx, kind=None):
        found = list_events(ctx, ListEvents(limit=1000))[::-1]
        return [(event.type, event.data) for event in found if kind in (None, event.type)]

    return read
