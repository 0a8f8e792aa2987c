"""Collecting: every logged prediction once, whatever is killed in between, whoever collects at the same time."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from undrift.core.errors import Corrupt
from undrift.events import EventLog, ListEvents, list_events
from undrift.registry import Field
from undrift.serving import CollectReport, collect, known_predictions, read_predictions, records
from undrift.serving import collect as collect_function
from undrift.serving.frames import encode_loss, encode_predictions, head_of
from undrift.serving.wal import Wal, read_frames

START = datetime(2013, 1, 1, tzinfo=UTC)
EVER = datetime(2030, 1, 1, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
INPUTS = (
    Field("distance", "float", True),
    Field("hour", "int"),
    Field("holiday", "bool", True),
    Field("carrier", "string", True, ("AA", "UA")),
)
FIXED = [
    "prediction_id",
    "event_time",
    "answered_at",
    "arm",
    "version",
    "score",
    "shadow_version",
    "shadow_score",
    "routing_revision",
]


def frame(*ids, at=0, endpoint="late", arms=None, others=None, two=False, values=None, layout="rows", inputs=INPUTS):
    known = [("champion", 3), ("canary", 4)] if two else [("champion", 3)]
    return encode_predictions(
        head_of(endpoint, "flights", 7, inputs, known),
        answered_at=START_US + at,
        ids=list(ids),
        event_times=[START_US + at + place for place in range(len(ids))],
        arms=arms,
        scores=[0.25] * len(ids),
        others=others,
        layout=layout,
        values=[(100.0, 5, True, "UA")] * len(ids) if values is None else values,
    )


def log(folder, *frames, close=True, **given):
    wal = Wal(folder, **given)
    for one in frames:
        assert wal.append(one)
    if close:
        wal.close()
    return wal


def everything(ctx, endpoint="late"):
    return read_predictions(ctx, endpoint, START - timedelta(days=400), EVER)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "predictions"


def test_nothing_is_collected_from_nothing(ctx, folder):
    assert collect(ctx, folder) == CollectReport()
    frame_ = everything(ctx)
    assert frame_.columns == FIXED
    assert frame_.height == 0


@pytest.mark.parametrize("engine", ["sqlite_database", "postgres_database"])
def test_what_was_logged_is_read_back_as_it_was_sent(engine, request, make_ctx, folder):
    ctx = make_ctx(request.getfixturevalue(engine))
    rows = [
        (100.5, 5, None, "UA"),
        (None, -(2**63), False, None),
        (1e300, 2**63 - 1, True, "never seen \0 in training"),
    ]
    log(folder, frame("a", "b", "c", values=rows, two=True, arms=[0, 1, 0], others=[0.5, None, 0.75]))
    report = collect(ctx, folder)
    assert (report.rows, report.segments, report.finished, report.torn) == (3, 1, 1, 0)
    found = everything(ctx)
    assert found.columns == [*FIXED, "distance", "hour", "holiday", "carrier"]
    assert found.select("distance", "hour", "holiday", "carrier").rows() == rows
    assert found["arm"].to_list() == ["champion", "canary", "champion"]
    assert found["version"].to_list() == [3, 4, 3]
    assert found["shadow_version"].to_list() == [4, 3, 4]
    assert found["shadow_score"].to_list() == [0.5, None, 0.75]
    assert found["routing_revision"].to_list() == [7, 7, 7]
    assert found["event_time"][2] == START + timedelta(microseconds=2)
    assert found["answered_at"][2] == START
    with ctx.read() as tx:
        assert known_predictions(tx, ["a", "nobody", "c"]) == {
            "a": ("late", START),
            "c": ("late", START + timedelta(microseconds=2)),
        }
    (event,) = list_events(ctx, ListEvents(type="predictions.collected"))
    assert (event.subject, event.project, event.data["rows"]) == ("endpoints/late", "flights", 3)
    assert list(folder.glob("*")) == []


@pytest.mark.parametrize("layout", ["flat", "rows", "columns"])
def test_the_way_values_lie_in_a_frame_does_not_matter(ctx, folder, layout):
    rows = [(1.0, 2, True, "AA"), (3.0, 4, None, None)]
    values = {"rows": rows, "flat": [one for row in rows for one in row], "columns": list(zip(*rows, strict=True))}
    log(folder, frame("a", "b", values=values[layout], layout=layout))
    collect(ctx, folder)
    assert everything(ctx).select("distance", "hour", "holiday", "carrier").rows() == rows


def test_a_column_without_any_value_keeps_its_type(ctx, folder):
    log(folder, frame("a", values=[(None, 1, None, None)]))
    collect(ctx, folder)
    found = everything(ctx)
    assert [found.schema[name] for name in ("distance", "holiday", "carrier")] == [pl.Float64, pl.Boolean, pl.String]


def test_routes_with_other_columns_lie_beside_each_other(ctx, folder):
    other = (Field("wind", "float"),)
    log(folder, frame("a"), frame("b", at=10, inputs=other, values=[(7.5,)]))
    collect(ctx, folder)
    assert everything(ctx).select("prediction_id", "hour", "wind").rows() == [("a", 5, None), ("b", None, 7.5)]


def test_the_same_id_sent_again_counts_once_and_the_first_one_counts(ctx, folder):
    log(folder, frame("a", "b"), frame("b", "c", at=50), close=True)
    assert collect(ctx, folder).duplicates == 1
    log(folder, frame("c", "a", at=99), frame("d"))
    assert collect(ctx, folder).duplicates == 2
    found = everything(ctx)
    assert sorted(found["prediction_id"]) == ["a", "b", "c", "d"]
    assert found.filter(pl.col("prediction_id") == "b")["answered_at"][0] == START
    with ctx.read() as tx:
        counted = records.account(tx, "late")
    assert (counted.logged, counted.collected, counted.duplicates) == (7, 4, 3)


def test_each_endpoint_gets_a_segment_of_its_own(ctx, folder):
    log(folder, frame("a"), frame("b", endpoint="fare"), frame("c"), encode_loss("late", "flights", 5))
    report = collect(ctx, folder)
    assert (report.rows, report.segments, report.dropped) == (3, 2, 5)
    assert everything(ctx)["prediction_id"].to_list() == ["a", "c"]
    assert everything(ctx, "fare")["prediction_id"].to_list() == ["b"]
    with ctx.read() as tx:
        assert records.account(tx, "late").dropped == 5
        assert records.account(tx, "fare").dropped == 0
    assert len(list_events(ctx, ListEvents(type="predictions.collected"))) == 2


def test_only_predictions_inside_the_time_asked_for_are_read(ctx, folder):
    for place in range(3):
        log(folder, frame(f"p{place}", at=place * 1_000_000))
        collect(ctx, folder)
    second = timedelta(seconds=1)
    assert read_predictions(ctx, "late", START, START + second)["prediction_id"].to_list() == ["p0"]
    assert read_predictions(ctx, "late", START + second, START + 3 * second)["prediction_id"].to_list() == ["p1", "p2"]
    assert read_predictions(ctx, "late", START + 3 * second, EVER).height == 0
    # The first segment is not read for the second second: without its file nothing is missed.
    with ctx.read() as tx:
        (first, *_) = records.overlapping_segments(tx, "late", START, START + second)
    (stored,) = (path for path in folder.parent.rglob("*") if path.is_file() and first.object[2:] in path.name)
    stored.write_bytes(stored.read_bytes()[:-1])
    assert read_predictions(ctx, "late", START + second, EVER).height == 2
    with pytest.raises(Corrupt):
        read_predictions(ctx, "late", START, EVER)
    stored.unlink()
    with pytest.raises(Corrupt, match=f"segment {first.id}"):
        read_predictions(ctx, "late", START, EVER)


def test_a_live_servers_file_is_collected_as_it_grows_and_stays(ctx, folder):
    wal = log(folder, frame("a"), close=False)
    assert collect(ctx, folder).rows == 1
    assert collect(ctx, folder) == CollectReport()
    wal.append(frame("b", at=5))
    report = collect(ctx, folder)
    assert (report.rows, report.finished) == (1, 0)
    assert wal.path.exists()
    wal.append(frame("c", at=9))
    wal.close()
    assert collect(ctx, folder).finished == 1
    assert everything(ctx)["prediction_id"].to_list() == ["a", "b", "c"]
    assert list(folder.glob("*")) == []


def test_a_torn_end_is_waited_for_while_the_writer_lives_and_kept_aside_after(ctx, folder):
    wal = log(folder, frame("a"), close=False)
    path = wal.path
    with path.open("ab") as file:
        file.write(b"\x40\0\0\0half of a frame")
    report = collect(ctx, folder)
    assert (report.rows, report.torn, path.exists()) == (1, 0, True)
    wal.close()
    report = collect(ctx, folder)
    assert (report.rows, report.torn, report.finished) == (0, 1, 1)
    assert report.problems == (f"{path} ended in 19 bytes that are no frame; it is kept as {path.name}.torn.",)
    assert [one.name for one in folder.iterdir()] == [path.name + ".torn"]
    with ctx.read() as tx:
        assert records.account(tx, "late").torn == 1
    assert collect(ctx, folder) == CollectReport()


def test_a_frame_of_another_version_stops_its_file_and_is_told(ctx, folder):
    log(folder, frame("a"), b"\x93\x63\x01\x02", frame("b"))
    log(folder, frame("c"))
    report = collect(ctx, folder)
    assert report.rows == 2
    assert "another version" in report.problems[0]
    assert everything(ctx)["prediction_id"].to_list() == ["a", "c"]
    assert len(list(folder.glob("*.wal"))) == 1


def test_a_file_that_cannot_be_read_is_told_and_the_others_are_collected(ctx, folder):
    (folder / "0000.wal").mkdir(parents=True)
    log(folder, frame("a"))
    report = collect(ctx, folder)
    assert report.rows == 1
    assert "0000.wal cannot be read: Is a directory." in report.problems[0]


def test_memory_is_bounded_by_cutting_stretches(ctx, folder, monkeypatch):
    monkeypatch.setattr(sys.modules["undrift.serving.collect"], "ROWS_A_SEGMENT", 4)
    log(folder, *[frame(f"p{place}-0", f"p{place}-1", f"p{place}-2", at=place * 10) for place in range(5)])
    report = collect(ctx, folder)
    assert (report.rows, report.segments) == (15, 5)
    assert everything(ctx).height == 15


class Killed(BaseException):
    """What a kill looks like to the code that is killed: nothing after it runs."""


class KillingStep:
    """Counts the steps between which a collector can be killed, and kills it at one of them."""

    def __init__(self, at):
        self.at = at
        self.steps = 0

    def __call__(self):
        self.steps += 1
        if self.steps == self.at:
            raise Killed


def killing(monkeypatch, ctx, step):
    """Let a collector be killed before and after each thing it does to the outside."""

    def around(target, name):
        real = getattr(target, name)

        def wrapped(*given, **named):
            step()
            answer = real(*given, **named)
            step()
            return answer

        monkeypatch.setattr(target, name, wrapped)

    around(ctx.repository.objects, "put")
    around(records, "advance_wal")
    around(records, "add_predictions")
    around(records, "add_segment")
    around(records, "finish_wal")
    around(sys.modules["undrift.serving.collect"], "_remove")
    around(ctx.events, "append")


def test_a_collector_killed_at_any_step_loses_and_doubles_nothing(ctx, folder, monkeypatch, make_ctx):
    expected = [f"p{place}" for place in range(6)]
    killed = 0
    for at in range(1, 100):
        round_folder = folder / str(at)
        endpoint = f"late-{at}"
        half = [frame(one, at=place, endpoint=endpoint) for place, one in enumerate([f"{at}-{e}" for e in expected])]
        log(round_folder, *half[:3])
        log(round_folder, *half[3:], frame(f"{at}-p0", endpoint=endpoint))
        step = KillingStep(at)
        victim = make_ctx(ctx.database, events=EventLog())
        with monkeypatch.context() as patch:
            killing(patch, victim, step)
            try:
                collect(victim, round_folder)
            except Killed:
                killed += 1
        for _ in range(2):
            collect(ctx, round_folder)
        assert everything(ctx, endpoint)["prediction_id"].to_list() == [f"{at}-{one}" for one in expected], at
        with ctx.read() as tx:
            counted = records.account(tx, endpoint)
        assert (counted.logged, counted.duplicates) == (7, 1), at
        told = list_events(ctx, ListEvents(type="predictions.collected", subject=f"endpoints/{endpoint}"))
        assert sum(event.data["rows"] for event in told) == 6, at
        assert list(round_folder.iterdir()) == [], at
        if step.steps < at:
            break
    assert killed > 20


def test_collectors_at_the_same_time_take_each_prediction_once(database, make_ctx, folder, monkeypatch):
    monkeypatch.setattr(sys.modules["undrift.serving.collect"], "ROWS_A_SEGMENT", 10)
    wal = Wal(folder, rotate_bytes=2_000)
    # Every third id comes again in a later file, so that two collectors meet at the same ids in different files.
    for place in range(60):
        wal.append(frame(f"p{place}", f"p{max(0, place - 30)}-again", at=place * 10))
    wal.close()
    failed = []

    def work():
        try:
            for _ in range(4):
                collect(make_ctx(database), folder)
        except Exception as error:  # noqa: BLE001 - asserted below
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    ctx = make_ctx(database)
    ids = everything(ctx)["prediction_id"].to_list()
    assert len(ids) == len(set(ids)) == 60 + 30
    with ctx.read() as tx:
        counted = records.account(tx, "late")
    assert (counted.logged, counted.collected, counted.duplicates) == (120, 90, 30)
    assert list(folder.iterdir()) == []


COLLECTOR = """
import sys
from pathlib import Path
from undrift.blobs import Repository, open_store
from undrift.core import Actor, Context, SystemClock
from undrift.events import EventLog
from undrift.metastore import open_database
from undrift.serving import collect

class AllowAll:
    def check(self, actor, permission):
        pass

sys.modules["undrift.serving.collect"].ROWS_A_SEGMENT = 20
ctx = Context(actor=Actor("collector"), clock=SystemClock(), database=open_database(sys.argv[1]),
              repository=Repository(open_store(sys.argv[2])), policy=AllowAll(), events=EventLog())
print("ready", flush=True)
while True:
    collect(ctx, Path(sys.argv[3]))
"""


def test_collectors_that_are_killed_for_real_lose_and_double_nothing(ctx, folder, tmp_path):
    chance = random.Random(20130401)
    expected, wal = [], Wal(folder, rotate_bytes=20_000)
    argv = [sys.executable, "-c", COLLECTOR, f"sqlite:///{tmp_path}/undrift.db", str(tmp_path / "blobs"), str(folder)]
    for _ in range(2):
        child = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"ready\n"
        until = time.monotonic() + chance.uniform(0.05, 0.25)
        while time.monotonic() < until:
            ids = [f"p{len(expected) + place}" for place in range(chance.randint(1, 9))]
            wal.append(frame(*ids, at=len(expected) * 10))
            expected += ids
        child.send_signal(signal.SIGKILL)
        child.communicate()
    wal.close()
    collect(ctx, folder)
    assert everything(ctx)["prediction_id"].to_list() == expected
    with ctx.read() as tx:
        counted = records.account(tx, "late")
    assert (counted.logged, counted.duplicates, counted.torn) == (len(expected), 0, 0)
    assert list(folder.iterdir()) == []


def test_a_finished_file_that_was_not_removed_is_removed_next_time(ctx, folder, monkeypatch):
    wal = log(folder, frame("a"))
    (path,) = folder.glob("*.wal")
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["undrift.serving.collect"], "_remove", lambda *_, **__: None)
        collect(ctx, folder)
    assert path.exists()
    assert collect(ctx, folder) == CollectReport()
    assert not path.exists()
    assert wal.error == ""


def test_the_door_gives_the_function_not_the_module():
    assert callable(collect_function)
    assert os.path.basename(sys.modules["undrift.serving.collect"].__file__) == "collect.py"  # noqa: PTH119


def test_a_frame_can_be_read_without_the_database(folder):
    log(folder, frame("a"))
    (path,) = folder.glob("*.wal")
    ((payload, _),) = read_frames(path)
    assert b"distance" in payload
