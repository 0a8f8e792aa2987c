from __future__ import annotations

import msgspec
import numpy as np
import pytest

from undrift.core.errors import Invalid
from undrift.evaluation import (
    AtLeast,
    BeatsChampion,
    Evidence,
    Gate,
    GateResult,
    NoSegmentWorseThan,
    judge,
    summary,
)


def evidence(rows=1000, *, days=20, skill=2.0, champion_skill=1.0, worse_at=None, first=False):
    """Held-out rows; a model with more skill knows more of the truth, and at one carrier it may know nothing."""
    rng = np.random.default_rng(11)
    truth = rng.normal(size=rows)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-2 * truth))).astype(np.float64)
    carriers = np.array(["UA", "AA", "DL", "rare"], dtype=object)[rng.choice(4, rows, p=[0.4, 0.3, 0.28, 0.02])]

    def scores(skill):
        return 1 / (1 + np.exp(-skill * truth))

    challenger = scores(skill)
    if worse_at is not None:
        challenger = np.where(carriers == worse_at, 1 - challenger, challenger)
    return Evidence(
        labels=labels,
        challenger=challenger,
        champion=None if first else scores(champion_skill),
        blocks=np.sort(rng.integers(0, days, rows)),
        segments={"carrier": carriers},
    )


def verdict(gate, made):
    (result,) = judge([gate], made)
    return result.verdict


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (AtLeast("roc_auc", 0.7), "pass"),
        (AtLeast("roc_auc", 0.99), "fail"),
        (AtLeast("log_loss", 0.6), "pass"),
        (AtLeast("log_loss", 0.1), "fail"),
    ],
)
def test_a_metric_reaches_a_value_or_not(gate, said):
    (result,) = judge([gate], evidence())
    assert result.verdict == said
    assert result.value is not None
    assert gate.metric in result.sentence


def test_few_rows_or_one_class_are_not_enough_to_measure():
    assert verdict(AtLeast("roc_auc", 0.1), evidence(199)) == "not enough evidence"
    assert verdict(AtLeast("roc_auc", 0.1), evidence(200)) == "pass"
    made = evidence()
    one_class = msgspec.structs.replace(made, labels=np.zeros(1000))
    (result,) = judge([AtLeast("roc_auc", 0.1)], one_class)
    assert (result.verdict, result.value) == ("not enough evidence", None)
    nothing = Evidence(np.array([]), np.array([]), None, np.array([], dtype=np.int64))
    assert verdict(AtLeast("log_loss", 0.1), nothing) == "not enough evidence"


def test_a_challenger_beats_the_champion_or_not():
    gate = BeatsChampion("log_loss")
    assert verdict(gate, evidence()) == "pass"
    assert verdict(gate, evidence(skill=1.0, champion_skill=2.0)) == "fail"
    assert verdict(gate, evidence(skill=2.0, champion_skill=2.0)) == "fail", "no better is not better"
    assert verdict(BeatsChampion("log_loss", by=0.5), evidence()) == "fail"
    (result,) = judge([gate], evidence())
    assert "On the same 1000 rows" in result.sentence


@pytest.mark.parametrize(("rows", "days"), [(199, 20), (1000, 4)], ids=["few rows", "few days"])
def test_few_rows_or_days_are_not_enough_to_compare(rows, days):
    assert verdict(BeatsChampion("log_loss"), evidence(rows, days=days)) == "not enough evidence"


def test_no_segment_may_surely_be_worse():
    gate = NoSegmentWorseThan("carrier", "log_loss", 0.05)
    assert verdict(gate, evidence()) == "pass"
    (result,) = judge([gate], evidence(worse_at="DL"))
    assert result.verdict == "fail"
    assert "carrier = DL" in result.sentence
    assert verdict(gate, evidence(worse_at="rare")) == "pass", "too few rows to tell"


def test_segments_without_rows_enough_are_not_enough_evidence():
    gate = NoSegmentWorseThan("carrier", "log_loss", 0.05)
    assert verdict(gate, evidence(150)) == "not enough evidence"


def test_a_missing_value_is_a_segment_of_its_own():
    made = evidence()
    unknown = np.where(made.segments["carrier"] == "DL", None, made.segments["carrier"])
    (result,) = judge(
        [NoSegmentWorseThan("carrier", "log_loss", 0.05)],
        msgspec.structs.replace(evidence(worse_at="DL"), segments={"carrier": unknown}),
    )
    assert (result.verdict, "carrier = None" in result.sentence) == ("fail", True)


def test_a_gate_on_a_column_that_is_not_there_is_refused():
    with pytest.raises(Invalid, match="needs that column") as caught:
        judge([NoSegmentWorseThan("origin", "log_loss", 0.05)], evidence())
    assert "The evidence has carrier." in str(caught.value)


@pytest.mark.parametrize("gate", [BeatsChampion("log_loss"), NoSegmentWorseThan("origin", "log_loss", 0.05)])
def test_a_first_model_has_no_champion_to_be_held_against(gate):
    assert verdict(gate, evidence(first=True)) == "pass"


def test_a_gate_on_a_metric_that_cannot_be_is_refused_when_it_is_written():
    with pytest.raises(Invalid, match="no metric 'accuracy'"):
        AtLeast("accuracy", 0.9)
    with pytest.raises(Invalid, match="'roc_auc' is no mean over rows"):
        BeatsChampion("roc_auc")
    with pytest.raises(Invalid, match="'roc_auc' is no mean over rows"):
        NoSegmentWorseThan("carrier", "roc_auc", 0.05)


def test_one_failure_fails_and_one_doubt_is_a_doubt():
    def results(*verdicts):
        return [GateResult("", one, None, "") for one in verdicts]

    assert summary(results("pass", "not enough evidence", "fail")) == "fail"
    assert summary(results("pass", "not enough evidence")) == "not enough evidence"
    assert summary(results("pass", "pass")) == "pass"
    assert summary([]) == "pass", "who asks for nothing gets it"


def test_gates_are_kept_as_json():
    gates = [AtLeast("roc_auc", 0.7), BeatsChampion("log_loss", 0.1), NoSegmentWorseThan("a", "log_loss", 0.1)]
    assert msgspec.json.decode(msgspec.json.encode(gates), type=list[Gate]) == gates
