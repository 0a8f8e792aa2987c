from __future__ import annotations

import math

import msgspec
import pytest

from undrift.core import new_id
from undrift.core.errors import Invalid, NotFound, TooLarge
from undrift.tracking import (
    CompareCode,
    CompareRuns,
    LogRun,
    RunLink,
    StartRun,
    compare_code,
    compare_runs,
    log_run,
    start_run,
)


def lock(ctx, version, **distributions):
    said = {
        "format": 1,
        "interpreter": {"implementation": "cpython", "version": version, "platform": "linux"},
        "distributions": [{"name": name, "version": v, "record": "ab" * 32} for name, v in distributions.items()],
    }
    return RunLink("input", "environment", "lock", ctx.repository.objects.put(msgspec.json.encode(said)))


def code(ctx, **files):
    tree = ctx.repository.trees.edit(None, {name.replace("__", "."): text.encode() for name, text in files.items()})
    return RunLink("input", "code", "source", tree)


def begin(ctx, *links, metrics=(), **given):
    run = start_run(ctx, StartRun("flights", "late", links=links, **given))
    log_run(ctx, LogRun(run.id, metrics=dict(metrics)))
    return run


def rows(found):
    return [(row.name, row.values) for row in found]


@pytest.fixture
def pair(ctx):
    one = begin(
        ctx,
        code(ctx, train__py="a = 1\nb = 2\n", same__py="x\n", gone__py="y\n"),
        lock(ctx, "3.11.7", numpy="2.0", polars="1.0"),
        RunLink("input", "dataset_version", "departures", "v1"),
        parameters={"depth": 3, "rate": 0.1},
        tags={"who": "ada"},
        metrics={"loss": 0.5, "odd": math.nan},
        name="first",
    )
    other = begin(
        ctx,
        code(ctx, train__py="a = 1\nb = 3\n", same__py="x\n", new__py="z\n"),
        lock(ctx, "3.11.9", numpy="2.0", lightgbm="4.6"),
        RunLink("input", "dataset_version", "departures", "v2"),
        parameters={"depth": 4, "rate": 0.1, "seed": 7},
        tags={"who": "ada"},
        metrics={"loss": 0.4, "odd": math.inf},
        name="second",
    )
    return one, other


def test_what_differs_is_shown_and_what_is_alike_is_counted(ctx, pair):
    one, other = pair
    found = compare_runs(ctx, CompareRuns((one.id, other.id)))
    assert found.names == ("first", "second")
    assert rows(found.parameters) == [("depth", (3, 4)), ("seed", (None, 7))]
    assert rows(found.metrics) == [("loss", (0.5, 0.4)), ("odd", ("NaN", "Infinity"))]
    assert rows(found.tags) == []
    assert rows(found.inputs) == [("dataset_version departures", ("v1", "v2"))]
    assert [row.name for row in found.code] == ["gone.py", "new.py", "train.py"]
    assert [row.name for row in found.environment] == ["lightgbm", "polars", "python (cpython)"]
    assert (found.alike["parameters"], found.alike["code"], found.alike["tags"]) == (1, 1, 1)
    assert found.gaps == ()


def test_what_is_alike_is_shown_when_asked_for_after_what_differs(ctx, pair):
    found = compare_runs(ctx, CompareRuns(tuple(run.id for run in pair), alike=True))
    assert [(row.name, row.same) for row in found.parameters] == [("depth", False), ("seed", False), ("rate", True)]


def test_a_changed_file_is_shown_as_a_diff(ctx, pair):
    one, other = pair
    said = compare_code(ctx, CompareCode(one.id, other.id, "train.py"))
    assert said.splitlines() == ["--- a/train.py", "+++ b/train.py", "@@ -1,2 +1,2 @@", " a = 1", "-b = 2", "+b = 3"]
    assert "+z" in compare_code(ctx, CompareCode(one.id, other.id, "new.py"))
    with pytest.raises(NotFound, match=r"neither run has 'other\.py'"):
        compare_code(ctx, CompareCode(one.id, other.id, "other.py"))
    with pytest.raises((NotFound, Invalid)):
        compare_code(ctx, CompareCode(one.id, other.id, "../../etc/passwd"))


def test_what_was_not_kept_or_is_gone_is_said(ctx, pair):
    bare = begin(ctx, name="bare")
    lost = begin(ctx, RunLink("input", "code", "source", "0" * 64), lock(ctx, "3.11.7"), name="lost")
    found = compare_runs(ctx, CompareRuns((pair[0].id, bare.id, lost.id)))
    assert any("No code was kept with run bare" in gap for gap in found.gaps)
    assert any("The code of run lost" in gap and "cannot be read" in gap for gap in found.gaps)
    assert rows(found.parameters) == [("depth", (3, None, None)), ("rate", (0.1, None, None))]


def test_a_section_is_bounded_and_says_so(ctx):
    runs = [begin(ctx, metrics={f"m{n}": float(n + shift) for n in range(50)}) for shift in (0, 1)]
    found = compare_runs(ctx, CompareRuns(tuple(run.id for run in runs), limit=10))
    assert len(found.metrics) == 10
    assert any("40 more rows of metrics" in gap for gap in found.gaps)


def test_fewer_than_two_unknown_or_too_many_runs_are_refused(ctx, pair):
    one = pair[0]
    for ids in ((), (one.id,), (one.id, one.id)):
        with pytest.raises(Invalid, match="at least two"):
            compare_runs(ctx, CompareRuns(ids))
    with pytest.raises(NotFound, match="not found"):
        compare_runs(ctx, CompareRuns((one.id, new_id())))
    with pytest.raises(TooLarge, match="101 runs"):
        compare_runs(ctx, CompareRuns(tuple(new_id() for _ in range(101))))


def test_a_form_feed_in_a_line_of_code_is_no_end_of_it(ctx):
    one, other = (begin(ctx, code(ctx, a__py=text)) for text in ("x\x0cy\u2028z\nsame\n", "x\x0cy\u2028w\nsame\n"))
    said = compare_code(ctx, CompareCode(one.id, other.id, "a.py"))
    assert said.split("\n") == [
        "--- a/a.py",
        "+++ b/a.py",
        "@@ -1,2 +1,2 @@",
        "-x\x0cy\u2028z",
        "+x\x0cy\u2028w",
        " same",
        "",
    ]


def test_an_end_without_a_line_break_is_said(ctx):
    one, other = (begin(ctx, code(ctx, a__py=text)) for text in ("a\nb", "a\nb\n"))
    said = compare_code(ctx, CompareCode(one.id, other.id, "a.py"))
    assert said.splitlines()[3:] == [" a", "-b", "\\ No newline at end of file", "+b"]
    empty, full = (begin(ctx, code(ctx, a__py=text)) for text in ("", "\n"))
    assert compare_code(ctx, CompareCode(empty.id, full.id, "a.py")).splitlines()[2:] == ["@@ -0,0 +1 @@", "+"]


@pytest.mark.parametrize("content", [b"[" * 200_000, b"{}", b"\xff", b" " * (17 << 20)])
def test_what_is_no_lock_is_a_gap(ctx, content):
    named = RunLink("input", "environment", "lock", ctx.repository.objects.put(content))
    found = compare_runs(ctx, CompareRuns((begin(ctx, named).id, begin(ctx, named).id)))
    assert sum("cannot be read" in gap for gap in found.gaps) == 2


@pytest.mark.parametrize("ref", ["../../etc/passwd", "", "x" * 64])
def test_an_address_that_is_none_is_a_gap(ctx, ref):
    links = (RunLink("input", "environment", "lock", ref), RunLink("input", "code", "source", ref))
    found = compare_runs(ctx, CompareRuns((begin(ctx, *links).id, begin(ctx, *links).id)))
    assert sum("cannot be read" in gap for gap in found.gaps) == 4
