"""Commands that tell undrift something: `labels`, `incidents ack`, `approve`, `refuse`."""

from __future__ import annotations

import pytest

from undrift.cli import labels as labels_command


@pytest.fixture
def label_file(tmp_path):
    def write(text):
        path = tmp_path / "labels.csv"
        path.write_text(text)
        return path

    return write


def test_labels_nobody_predicted_are_parked_which_is_no_error(call, fill, label_file):
    said = call("labels", label_file("prediction_id,label\nf1,1\nf2,0\n"), "--endpoint", "late")
    assert (said.code, said.err) == (0, "")
    assert "2 labels are for predictions that 'late' has not logged, such as 'f1'." in said.out


def test_the_same_labels_again_change_nothing(call, fill, label_file):
    file = label_file("label,prediction_id,known_at\n1,f1,2013-04-01\n,f2,\n0,f3,2013-04-01T12:00:00Z\n\n")
    assert call("labels", file, "--endpoint", "late", "--json").json["parked"] == 2
    again = call("labels", file, "--endpoint", "late", "--json").json
    assert (again["unchanged"], again["parked"], again["corrected"]) == (2, 0, 0)


def test_many_labels_go_in_several_calls_and_one_report(call, fill, label_file, monkeypatch):
    monkeypatch.setattr(labels_command, "_A_CALL", 2)
    lines = "".join(f"f{number},{number % 2}\n" for number in range(5))
    report = call("labels", label_file("prediction_id,label\n" + lines), "--endpoint", "late", "--json").json
    assert report["parked"] == 5
    assert report["parked_ids"] == ["f0", "f1", "f2", "f3", "f4"]
    assert report["sentence"].startswith("5 labels are for predictions")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,label\nf1,1\n", "has no column prediction_id."),
        ("", "has no column prediction_id, label."),
        ("prediction_id,label\nf1,late\n", "the label 'late' is no number."),
        ("prediction_id,label\nf1,1\nf2\n", "Line 3 of"),
        ("prediction_id,label,known_at\nf1,1,soon\n", "'soon' is not a time."),
        ("prediction_id,label\nf1,nan\n", "the label 'nan' is no number."),
    ],
)
def test_a_file_that_is_wrong_somewhere_records_nothing(text, said, call, fill, label_file):
    answer = call("labels", label_file(text), "--endpoint", "late")
    assert answer.code == 2
    assert said in answer.err.replace("\n", " ")
    assert call("audit", "--json", "--type", "labels.recorded").json == []


def test_an_acknowledged_incident_says_by_whom_and_whether_it_was_useful(call, fill):
    found = call("incidents", "ack", "1", "--not-useful", "--json").json
    assert (found["state"], found["useful"]) == ("acknowledged", False)
    assert "found useful" in call("incidents", "ack", "1", "--useful").out


def test_a_challenger_is_approved_with_a_reason(call, fill):
    said = call("approve", fill["cycle"], "--reason", "I looked at the segments.")
    assert (said.code, said.err) == (0, "")
    assert said.out == "Version 2 of late is approved; the worker goes on with its rollout.\n"
    (event,) = call("audit", "--json", "--type", "loop.decided").json
    assert (event["data"]["approved"], event["data"]["reason"]) == (True, "I looked at the segments.")


def test_a_challenger_is_refused_once(call, fill):
    assert call("refuse", fill["cycle"], "--reason", "Too few rows.", "--json").json["stage"] == "refused"
    again = call("approve", fill["cycle"], "--reason", "Changed my mind.")
    assert again.code == 5
    assert "does not await approval: it is refused." in again.err


def test_a_decision_needs_a_reason(call, fill):
    said = call("approve", fill["cycle"])
    assert said.code == 2
    assert "--reason" in said.err
