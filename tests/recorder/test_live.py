"""What training code says arrives, and nothing it says wrongly stops it."""

from __future__ import annotations

import logging
import math
import threading
import time
from datetime import UTC, datetime

import numpy as np
import pytest

import undrift as ud
from undrift.core.errors import Invalid


def test_what_a_run_says_arrives(record, find, points, runs):
    with record("flights", name="first", project="airports", parameters={"depth": 6}) as run:
        run.log(loss=0.5, step=1)
        run.log({"val/loss": 0.25}, step=2, time=datetime(2026, 1, 1, tzinfo=UTC))
        run.parameters(lr=0.1, layers=[1, 2], options={"a": None}, size=np.int64(3), odd=math.nan)
        run.tag(team="ops", shift=2)
        run.tag(team="research")
        run.reads("departures", version="abc", context="training")
        run.makes("forecast", version="def", kind="tree")

    there = find(run.id)
    assert (there.project, there.experiment, there.name, there.status) == ("airports", "flights", "first", "finished")
    assert there.metrics == {"loss": 0.5, "val/loss": 0.25}
    assert there.parameters == {
        "depth": 6,
        "lr": 0.1,
        "layers": [1, 2],
        "options": {"a": None},
        "size": 3,
        "odd": "NaN",
    }
    assert there.tags == {"team": "research", "shift": "2"}
    assert {(link.role, link.kind, link.name, link.ref) for link in there.links} == {
        ("input", "dataset_version", "departures", "abc"),
        ("output", "tree", "forecast", "def"),
    }
    assert there.started_at <= there.ended_at
    assert points(run.id, "loss") == [(1, 0.5)]
    assert list(runs.iterdir()) == [], "what was sent leaves nothing behind"


def test_steps_count_by_themselves_and_go_on_from_one_that_is_said(record, points):
    with record() as run:
        run.log(loss=1)
        run.log(loss=2)
        run.log(loss=3, step=10)
        run.log(loss=4)
        run.log(loss=5, step=np.int32(20))
    assert points(run.id, "loss") == [(0, 1.0), (1, 2.0), (10, 3.0), (11, 4.0), (20, 5.0)]


def test_numbers_that_json_does_not_have_arrive(record, points):
    with record() as run:
        for value in (math.nan, math.inf, -math.inf, np.float32("nan")):
            run.log(loss=value)
    assert [value for _, value in points(run.id, "loss")] == ["NaN", "Infinity", "-Infinity", "NaN"]


def test_what_is_no_value_is_counted_warned_of_once_and_harms_nothing(record, find, points, caplog):
    class Hostile:
        def __float__(self):
            raise ZeroDivisionError("no")

        def __str__(self):
            raise ZeroDivisionError("no")

    with caplog.at_level(logging.WARNING, "undrift.recorder"), record() as run:
        run.log(loss="high", good=1)
        run.log(loss=None)
        run.log({3: 1.0, "good": 2})
        run.log(["loss"])
        run.log(loss=1.0, step="second")
        run.log(loss=1.0, step=2**63)
        run.log(loss=1.0, time="yesterday")
        run.log(loss=Hostile())
        run.log({"": 1.0})
        run.log()
        run.parameters(7)
        run.parameters({"": 1}, text="x" * 10_000)
        run.tag(None)
        run.parameters(odd=Hostile())
        run.reads("departures", version=object())
        run.artifact("there-is-no-such-file")
        run.artifacts("there-is-no-such-folder")
        run.seed("seven")
        run.log(good=3)
    there = find(run.id)
    assert [value for _, value in points(run.id, "good")] == [1.0, 2.0, 3.0]
    assert there.tags["undrift.bad_values"] == str(run.losses["bad_values"]) == "14"
    assert there.tags["undrift.missing_artifacts"] == "2"
    assert there.parameters["odd"] == "<Hostile>"
    assert sum("undrift.bad_values" in one.message for one in caplog.records) == 1
    assert there.status == "finished"


def test_names_that_cannot_be_are_kept_as_the_nearest_that_can(record, find):
    with record() as run:
        run.log({"acc@5": 1.0, "/top//loss": 2.0, "x" * 300: 3.0})
        run.parameters({"optimiser[lr]": 1})
    there = find(run.id)
    assert set(there.metrics) == {"acc_5", "top/loss", "x" * 250}
    assert there.parameters == {"optimiser_lr_": 1}
    assert run.losses == {"renamed": 4}


def test_a_parameter_keeps_its_first_value(record, find):
    with record() as run:
        run.parameters(lr=0.1)
        run.parameters(lr=0.1)
        run.parameters(lr=0.2)
        run.log(loss=1)
    there = find(run.id)
    assert there.parameters == {"lr": 0.1}
    assert run.losses == {"bad_values": 1}
    assert there.metrics == {"loss": 1.0}


def test_a_parameter_of_another_process_keeps_its_value_and_nothing_else_is_lost(record, find, runs):
    first = record()
    first.parameters(lr=0.1)
    first.end()
    second = record(id=first.id)
    second.parameters(lr=0.2, depth=6)
    second.log(loss=1)
    second.end()
    there = find(first.id)
    assert there.parameters == {"lr": 0.1, "depth": 6}
    assert there.metrics == {"loss": 1.0}
    assert there.tags["undrift.refused"] == "1"
    (refused,) = runs.glob("*.refused.jsonl")
    assert "lr" in refused.read_text()


def test_children_are_part_of_their_parent_and_their_end_waits_for_nobody(record, find):
    with record(name="all") as run:
        began = time.monotonic()
        with run.child("fold-1") as fold:
            fold.log(loss=1)
        assert time.monotonic() - began < 0.8
        with run.child("fold-2", kind="evaluation") as other:
            other.log(loss=2)
    there = find(fold.id)
    assert (there.parent_id, there.name, there.status, there.kind) == (run.id, "fold-1", "finished", "training")
    assert find(other.id).metrics == {"loss": 2.0}
    assert find(other.id).kind == "evaluation"


def test_an_exception_marks_the_run_failed_with_its_text(record, find):
    run = record()
    run.log(loss=1)
    with pytest.raises(ZeroDivisionError), run:
        raise ZeroDivisionError("no parts to divide into")
    there = find(run.id)
    assert (there.status, there.error) == ("failed", "ZeroDivisionError: no parts to divide into")
    assert there.metrics == {"loss": 1.0}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), "killed"),
        (SystemExit(0), "finished"),
        (SystemExit(3), "failed"),
        (SystemExit("no"), "failed"),
    ],
)
def test_how_a_process_is_left_says_how_the_run_ended(record, find, error, status):
    with pytest.raises(type(error)), record() as run:
        raise error
    assert find(run.id).status == status


def test_a_run_that_ended_takes_nothing_more_and_ends_once(record, find):
    run = record()
    run.end("failed", "tired")
    run.end()
    run.log(loss=1)
    run.parameters(a=1)
    run.tag(b=2)
    run.artifact("c", content="d")
    there = find(run.id)
    assert (there.status, there.error, there.metrics, there.parameters) == ("failed", "tired", {}, {})
    assert run.losses["after_end"] == 4


def test_many_threads_may_log_to_one_run(record, points):
    with record() as run:

        def work(which):
            for step in range(500):
                run.log({f"loss{which}": float(step)}, step=step)

        threads = [threading.Thread(target=work, args=(which,)) for which in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for which in range(8):
        assert points(run.id, f"loss{which}") == [(step, float(step)) for step in range(500)]


def test_entries_with_very_many_metrics_arrive(record, find):
    with record() as run:
        for _ in range(5):
            run.log({f"m{place}": float(place) for place in range(5_000)})
    assert len(find(run.id).metrics) == 5_000
    assert not run.losses


def test_points_are_there_while_the_run_goes_on(record, points, eventually):
    run = record()
    run.log(loss=1)
    assert eventually(lambda: points(run.id, "loss")) == [(0, 1.0)]
    run.log(loss=2)
    assert eventually(lambda: len(points(run.id, "loss")) == 2)


def test_what_cannot_be_right_is_said_at_once(runs, workspace):
    for given in (
        {"experiment": ""},
        {"experiment": "a", "project": "no such/name"},
        {"experiment": "a", "id": "7"},
        {"experiment": "a", "parent_id": "7"},
        {"experiment": "a", "target": "ftp://example.org"},
    ):
        with pytest.raises(Invalid):
            ud.run(**given)
    assert not runs.exists()


def test_seeding_makes_the_same_numbers_again_and_is_recorded(record, find):
    import random

    drawn = []
    for _ in range(2):
        with record() as run:
            run.seed(7)
            drawn.append((random.random(), float(np.random.random())))  # noqa: NPY002 - the global one is meant
    assert drawn[0] == drawn[1]
    assert find(run.id).parameters == {"seed": 7}


def test_a_run_can_be_gone_on_with(record, points, find):
    with record() as first:
        first.log(loss=1, step=1)
    with record(id=first.id) as second:
        second.log(loss=2, step=2)
    assert points(first.id, "loss") == [(1, 1.0), (2, 2.0)]
    assert find(first.id).status == "finished"


def test_a_run_that_ended_runs_again_when_it_is_gone_on_with(record, find, eventually):
    first = record()
    first.end("killed", "out of memory")
    second = record(id=first.id)
    eventually(lambda: find(first.id).status == "running")
    second.end()
    assert (find(first.id).status, second._delivery.refused) == ("finished", 0)


def test_texts_that_are_no_utf8_are_kept_as_near_as_can_be(record, find):
    run = record(name="late \udcff")
    run.parameters(path="data/\udcff", paths=["\udcff"])
    run.tag(path="data/\udcff")
    run.reads("data \udcff", version="v\udcff")
    run.end("failed", "no such file: \udcff")
    there = find(run.id)
    assert (there.name, there.status, there.error) == ("late ?", "failed", "no such file: ?")
    assert there.parameters == {"path": "data/?", "paths": "['\\udcff']"}
    assert there.tags["path"] == "data/?"
    assert [(link.name, link.ref) for link in there.links] == [("data ?", "v?")]


def test_children_that_were_sent_are_not_kept_in_mind(record, eventually):
    run = record()
    for _ in range(3):
        run.child("fold").end()
    eventually(lambda: not run._unsent)


def test_where_a_run_goes_is_said(record, workspace, runs, monkeypatch, capsys):
    monkeypatch.setenv("UNDRIFT_QUIET", "0")
    run = record()
    said = capsys.readouterr().err
    assert run.id in said
    assert str(workspace) in said
    assert str(workspace) in repr(run)
