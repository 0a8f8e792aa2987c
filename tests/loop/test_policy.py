from datetime import UTC, datetime, timedelta

import pytest

from undrift.core.errors import Invalid
from undrift.loop import Cycle, Retraining, TrainingWindow, decide, parse_duration_s
from undrift.monitoring import Incident

NOW = datetime(2013, 6, 1, tzinfo=UTC)
DAY_S = 86_400.0


def cycle(days_ago: float, trigger: str = "performance", stage: str = "promoted") -> Cycle:
    at = NOW - timedelta(days=days_ago)
    return Cycle("c" * 32, "p", "e", "m", stage, trigger, None, "", at, at, closed_at=at)


def incident(cause: str) -> Incident:
    return Incident(
        "i" * 32, 1, "p", "e", cause, "t", (), None, "o", NOW, NOW, NOW, None, "open", (), diagnosis="why", action="a"
    )


def test_a_performance_drop_asks_for_a_retraining_once_the_last_one_has_cooled_down():
    plan = Retraining(on=("performance",), cooldown_s=14 * DAY_S)
    drop = [incident("performance drop")]
    assert decide(plan, [cycle(20)], drop, NOW).action == "retrain"
    assert decide(plan, [cycle(13)], drop, NOW).action == "wait"
    assert decide(plan, [cycle(20)], [], NOW).action == "nothing"


def test_nothing_is_retrained_while_a_data_fault_lasts():
    plan = Retraining(on=("performance",), cooldown_s=0)
    found = decide(plan, [cycle(20)], [incident("performance drop"), incident("data fault")], NOW)
    assert found.action == "wait"
    assert "data fault" in found.sentence


def test_the_schedule_counts_from_the_end_of_the_last_one():
    plan = Retraining(on=("schedule:30d",), cooldown_s=0)
    assert decide(plan, [cycle(30)], [], NOW).trigger == "schedule"
    assert decide(plan, [cycle(29.9)], [], NOW).action == "nothing"


def test_the_budget_is_kept_and_the_first_version_is_free():
    plan = Retraining(on=("performance",), cooldown_s=0, budget=2, budget_s=365 * DAY_S)
    drop = [incident("performance drop")]
    spent = [cycle(20), cycle(40), cycle(60, "first version")]
    assert decide(plan, spent, drop, NOW).action == "wait"
    assert decide(plan, spent[1:], drop, NOW).action == "retrain"
    assert decide(plan, [cycle(20), cycle(400), cycle(500)], drop, NOW).action == "retrain"


def test_an_unknown_trigger_is_refused():
    with pytest.raises(Invalid, match="triggers nothing"):
        decide(Retraining(on=("moon",)), [cycle(20)], [], NOW)


@pytest.mark.parametrize("text", ["", "3", "d", "-1d", "3 weeks", "nand", "infd"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(Invalid, match="no duration"):
        parse_duration_s(text)


@pytest.mark.parametrize(("kind", "days"), [("all", 3), ("recent", 0), ("weighted", -1)])
def test_a_training_window_without_sense_is_refused(kind, days):
    with pytest.raises(Invalid):
        TrainingWindow(kind, days)
