"""Health and metrics: whether the hub can do its work, and what it counts."""

from __future__ import annotations

import re
import time

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from undrift.core.errors import Unavailable
from undrift.hub import app as app_module
from undrift.hub import health
from undrift.metastore.migrate import HEAD
from undrift.workspace import Workspace


def test_a_hub_that_can_work_is_ok(http):
    answer = http.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "reasons": [], "version": answer.json()["version"]}


def test_a_full_disk_is_a_reason(http, monkeypatch):
    monkeypatch.setattr(Workspace, "free_bytes", lambda self: 99_000_000)
    answer = http.get("/health")
    assert answer.status_code == 503
    assert answer.json()["status"] == "degraded"
    assert "99 MB are free" in answer.json()["reasons"][0]


def test_a_workspace_folder_that_is_gone_is_a_reason(http, monkeypatch):
    def gone(self):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Workspace, "free_bytes", gone)
    assert "cannot be looked at: No such file" in http.get("/health").json()["reasons"][0]


def test_a_database_that_does_not_answer_is_a_reason_that_does_not_say_where_it_lives(http, monkeypatch, workspace):
    def away(database):
        raise Unavailable(f"sqlite:///{workspace.folder}/undrift.db did not answer.")

    monkeypatch.setattr(health, "check", away)
    answer = http.get("/health")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["the database did not answer."]


def test_a_database_that_hangs_is_a_reason(http, monkeypatch):
    monkeypatch.setattr(app_module, "_HEALTH_S", 0.05)
    monkeypatch.setattr(health, "check", lambda database: time.sleep(0.5))
    assert "did not answer within" in http.get("/health").json()["reasons"][0]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE alembic_version SET version_num = '0000'", "has not the schema"),
        ("UPDATE alembic_version SET version_num = '9999'", "newer undrift"),
        ("CREATE TABLE migration_in_progress AS SELECT 'x' AS target", "was interrupted"),
    ],
)
def test_a_schema_that_is_not_the_one_needed_is_a_reason(http, workspace, statement, said):
    assert HEAD < "9999"
    with workspace.database.begin() as tx:
        tx.execute(sa.text(statement))
    answer = http.get("/health")
    assert answer.status_code == 503
    assert said in answer.json()["reasons"][0]


def metrics(http):
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_requests_are_counted_by_operation_and_code(http):
    http.get("/api/v1/registry/list_models")
    http.get("/api/v1/registry/list_models")
    http.get("/api/v1/registry/list_models?oops=1")
    http.get("/")
    http.get("/nowhere/at/all")
    found = metrics(http)
    name, operation = "undrift_hub_requests_total", ("operation", "registry.list_models")
    assert found[name, ("code", "200"), operation] == 2
    assert found[name, ("code", "400"), operation] == 1
    assert found[name, ("code", "200"), ("operation", "page")] == 1
    assert found[name, ("code", "404"), ("operation", "other")] == 1
    assert found["undrift_hub_request_seconds_count", operation] == 3


def test_what_is_asked_for_by_strangers_makes_no_new_series(http):
    for number in range(50):
        http.get(f"/nowhere/{number}")
        http.get("/", headers={"host": f"evil{number}.example"})
    text = http.get("/metrics").text
    assert "nowhere" not in text
    assert len(re.findall(r"^undrift_hub_requests_total", text, re.MULTILINE)) == 2


def test_the_state_of_the_workspace_is_measured(http, troubled_year):
    found = metrics(http)
    events = http.get("/api/v1/events/list?limit=1").json()
    assert found["undrift_events_head_position",] == events[0]["position"]
    assert found["undrift_incidents_open",] == 1
    assert found["undrift_hub_database_up",] == 1
    assert found["undrift_hub_uptime_seconds",] >= 0
    assert found["undrift_hub_resident_bytes",] > 10_000_000


def test_metrics_are_told_also_when_the_database_is_away(http, monkeypatch):
    from undrift.hub import metrics as metrics_module

    def away(tx):
        raise Unavailable("It is away.")

    monkeypatch.setattr(metrics_module, "head", away)
    found = metrics(http)
    assert found["undrift_hub_database_up",] == 0
    assert ("undrift_events_head_position",) not in found
