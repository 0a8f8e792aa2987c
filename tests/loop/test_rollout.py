from datetime import UTC, datetime, timedelta

import pytest

from undrift.core.errors import Invalid
from undrift.loop import Cycle, Rollout, RolloutStep
from undrift.loop.rollout import rule
from undrift.monitoring import Measure, Window

START = datetime(2013, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PLAN = Rollout(
    steps=(RolloutStep("canary", 0.25, 2 * 86_400.0), RolloutStep("canary", 0.5, 2 * 86_400.0)),
    margin=0.05,
    worth=0.002,
    give_up_s=14 * 86_400.0,
)


def windows(gains: list[float], rows: int = 900) -> list[Window]:
    return [
        Window(
            endpoint="e",
            start=START + place * DAY,
            end=START + (place + 1) * DAY,
            predictions=rows,
            labels=rows,
            served=None,
            versions={
                "1": Measure(rows, 0.4, None, 0.2, 0.2),
                "2": Measure(rows, 0.4 - gain, None, 0.2, 0.2),
            },
            missing={},
            drift={},
            suspect=(),
            profile=None,
            measured_at=START,
        )
        for place, gain in enumerate(gains)
    ]


def cycle(step: int, days_in_step: int, now: datetime) -> Cycle:
    since = now - days_in_step * DAY
    return Cycle(
        "c" * 32,
        "p",
        "e",
        "m",
        "canary",
        "performance",
        None,
        "",
        START,
        since,
        rollout_since=START,
        step=step,
        champion=1,
        challenger=2,
    )


def ruled(gains: list[float], *, step: int = 1, days_in_step: int = 2, rows: int = 900, days: int | None = None) -> str:
    now = START + (len(gains) + 1 if days is None else days) * DAY
    return rule(PLAN, cycle(step, days_in_step, now), windows(gains, rows), now).action


def test_a_better_challenger_is_promoted_after_its_last_step():
    assert ruled([0.02, 0.03, 0.01, 0.02, 0.03]) == "promote"


def test_a_step_is_not_cut_short():
    assert ruled([0.02, 0.03, 0.01, 0.02, 0.03], days_in_step=1) == "wait"


def test_an_early_step_leads_to_the_next_one():
    assert ruled([0.02], step=0) == "next step"


def test_a_surely_worse_challenger_goes_back_at_once_in_any_step():
    assert ruled([-0.05, -0.06, -0.05, -0.055, -0.06, -0.05], step=0, days_in_step=0) == "roll back"


def test_a_challenger_that_is_no_better_is_not_promoted_and_in_the_end_goes_back():
    same = [0.001, -0.001] * 3
    assert ruled(same) == "wait"
    assert ruled(same, days=14) == "roll back"


def test_few_windows_or_few_rows_decide_nothing():
    assert ruled([0.5, 0.5]) == "wait"
    assert ruled([0.02, 0.03, 0.01, 0.02, 0.03], rows=49) == "wait"


def test_shares_that_fall_are_refused():
    with pytest.raises(Invalid, match="rise"):
        Rollout(steps=(RolloutStep("canary", 0.5, 1.0), RolloutStep("canary", 0.25, 1.0)))
