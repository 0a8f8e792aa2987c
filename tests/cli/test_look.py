"""Commands that only look: `status`, `runs`, `models`, `incidents`, `data`, `audit`."""

from __future__ import annotations

import json

import pytest

COMMANDS = ["status", "runs", "models", "incidents", "data", "audit", "audit verify", "doctor"]


@pytest.mark.parametrize("command", COMMANDS)
def test_in_an_empty_workspace_there_is_nothing_and_that_is_no_error(command, call, folder):
    said = call(*command.split())
    assert (said.code, said.err) == (0, "")
    assert said.out


@pytest.mark.parametrize("command", COMMANDS)
def test_with_json_there_is_one_document_and_nothing_else(command, call, fill):
    said = call(*command.split(), "--json")
    assert (said.code, said.err) == (0, "")
    assert len(said.out.splitlines()) == 1
    json.loads(said.out)


def test_status_says_what_is_wrong_since_when_and_whose_it_is(call, fill):
    said = call("status")
    assert said.out.startswith("1 incident is open, since 2013-04-01 00:00 UTC (")
    for part in ("unit change in temp", "weather-desk@example.com", "temp comes in °C.", "late 1", "awaiting approval"):
        assert part in said.out
    assert f"undrift approve {fill['cycle']} --reason" in said.out
    assert "No worker runs" in said.out


def test_status_tells_programs_the_same(call, fill):
    found = call("status", "--json").json
    assert (found["ok"], found["worker_runs"]) == (False, False)
    assert [one["number"] for one in found["incidents"]] == [1]
    (endpoint,) = found["endpoints"]
    assert (endpoint["endpoint"], endpoint["champion"]["number"]) == ("late", 1)
    assert endpoint["cycle"]["stage"] == "awaiting approval"


def test_a_run_is_shown_with_what_it_logged(call, fill):
    said = call("runs", fill["run"])
    assert "log_loss  0.25" in said.out
    assert "seed  1" in said.out
    assert call("runs", fill["run"], "--json").json["id"] == fill["run"]
    assert fill["run"] in call("runs").out


def test_a_run_that_does_not_exist_is_not_found(call, folder):
    said = call("runs", "0" * 32)
    assert (said.code, said.err.splitlines()[1]) == (3, "List runs with `undrift runs`.")


def test_a_model_is_shown_with_who_moved_its_aliases_when_and_why(call, fill):
    out = call("models", "late").out
    assert "It passed its gates." in out
    assert "champion" in out
    assert "ada" in out
    found = call("models", "late", "--json").json
    assert [one["number"] for one in found["versions"]] == [2, 1]
    assert (found["aliases"], found["moves"][0]["reason"]) == ({"champion": 1}, "It passed its gates.")


def test_an_unknown_model_is_told_with_those_that_are_known(call, fill):
    said = call("models", "early")
    assert said.code == 3
    assert said.err == "There is no model 'early'.\nKnown are: late.\n"


def test_a_name_that_two_projects_have_needs_the_project(call, fill, folder):
    from undrift.registry import RegisterModel, register_model
    from undrift.workspace import Workspace

    workspace = Workspace.open(folder)
    register_model(workspace.context(), RegisterModel("trains", "late", "ops@example.com"))
    workspace.close()
    said = call("models", "late")
    assert said.code == 2
    assert said.err == "Several projects have a model 'late': flights, trains.\nSay which with --project.\n"
    assert call("models", "late", "--project", "trains").out == "No version was registered yet.\n"


def test_an_incident_is_shown_with_its_findings(call, fill):
    assert "temp is in another unit." in call("incidents", "1").out
    assert call("incidents", "1", "--json").json["columns"] == ["temp"]
    assert "unit change in temp" in call("incidents", "--open").out


def test_an_unknown_incident_is_not_found(call, fill):
    said = call("incidents", "7")
    assert said.code == 3
    assert said.err == "There is no incident 7.\nList them with `undrift incidents`.\n"


def test_the_newest_events_come_first_and_can_be_narrowed(call, fill):
    types = [event["type"] for event in call("audit", "--json").json]
    assert types[0] == "endpoint.route_changed"
    (moved,) = call("audit", "--json", "--type", "model.alias_moved").json
    assert moved["actor"] == "ada"
    assert [event["position"] for event in call("audit", "--json", "--limit", "2", "--before", "4").json] == [3, 2]
    assert "model.alias_moved" in call("audit", "--subject", "models/late").out
