"""Webhooks in MLflow's words, on the native ones."""

from __future__ import annotations

import pytest

from undrift.events import ListEvents, list_events, webhooks

API = "/api/2.0/mlflow/webhooks"
ADDRESS = "https://8.8.8.8/hooks"
CREATED = {"entity": "MODEL_VERSION", "action": "CREATED"}
TAGGED = {"entity": "MODEL_VERSION_TAG", "action": "SET"}


@pytest.fixture
def ask(http):
    """Ask under an address below ``webhooks``; returns status and answer."""

    def asked(method, path="", body=None, *, prefix=""):
        given = {"params": body} if method == "GET" else {"json": body or {}}
        answer = http.request(method, f"{prefix}{API}{path}", **given)
        return answer.status_code, answer.json()

    return asked


@pytest.fixture
def make(ask):
    """Make a webhook; returns what was answered."""

    def made(name="to-chat", **given):
        return ask("POST", "", {"name": name, "url": ADDRESS, "events": [CREATED], **given})

    return made


def refused(answer, code, text, status=400):
    assert (answer[0], answer[1].get("error_code")) == (status, code), answer
    assert text in answer[1]["message"]


def test_a_webhook_is_told_without_its_secret(ask, make):
    status, answer = make(description="For us", secret="s3cret-s3cret", events=[CREATED, TAGGED])
    assert status == 200, answer
    made = answer["webhook"]
    assert made == ask("GET", f"/{made['webhook_id']}")[1]["webhook"]
    assert made["events"] == [CREATED, TAGGED]
    assert (made["name"], made["url"], made["status"], made["description"]) == ("to-chat", ADDRESS, "ACTIVE", "For us")
    assert made["creation_timestamp"] == made["last_updated_timestamp"] > 1_600_000_000_000
    assert "s3cret" not in str(answer)


def test_a_webhook_of_mlflow_is_a_native_one_in_its_format(make, workspace):
    made = make(secret="s3cret-s3cret", status="DISABLED")[1]["webhook"]
    found = webhooks.find_webhook(workspace.context(), webhooks.FindWebhook(made["webhook_id"]))
    assert (found.format, found.mlflow_events, found.event_types) == ("mlflow", ("model_version.created",), ())
    assert (found.project, found.status, found.has_secret) == ("default", "DISABLED", True)


def test_what_is_left_out_of_an_update_stays(ask, make):
    id_ = make(description="For us")[1]["webhook"]["webhook_id"]
    changed = ask("PATCH", f"/{id_}", {"name": "renamed", "events": [TAGGED], "status": "DISABLED"})[1]["webhook"]
    assert (changed["name"], changed["events"], changed["status"]) == ("renamed", [TAGGED], "DISABLED")
    assert (changed["url"], changed["description"]) == (ADDRESS, "For us")
    # The path has the last word about which webhook it is; a status may be its number.
    again = ask("PATCH", f"/{id_}", {"webhook_id": "0" * 32, "status": 1})[1]["webhook"]
    assert (again["webhook_id"], again["status"], again["events"]) == (id_, "ACTIVE", [TAGGED])


def test_a_webhook_that_is_deleted_is_not_found(ask, make):
    id_ = make()[1]["webhook"]["webhook_id"]
    assert ask("DELETE", f"/{id_}") == (200, {})
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test")):
        answer = ask(method, f"/{id_}{path}")
        refused(answer, "RESOURCE_DOES_NOT_EXIST", f"Webhook with ID {id_} not found.", status=404)
    for other in ("x", "0" * 31, "0" * 5000, "..", "%2e%2e"):
        answer = ask("GET", f"/{other}")
        assert answer[0] == 404, answer


def test_they_are_listed_newest_first_a_page_at_a_time_without_those_in_the_native_format(ask, make, workspace):
    assert ask("GET") == (200, {})
    for number in range(3):
        make(f"hook{number}")
        native = webhooks.CreateWebhook("default", f"native{number}", ADDRESS, event_types=("*",))
        webhooks.create_webhook(workspace.context(), native)
    first = ask("GET", "", {"max_results": 2})[1]
    assert [one["name"] for one in first["webhooks"]] == ["hook2", "hook1"]
    rest = ask("GET", "", {"max_results": 2, "page_token": first["next_page_token"]})[1]
    assert [one["name"] for one in rest["webhooks"]] == ["hook0"]
    assert "next_page_token" not in rest
    native = webhooks.list_webhooks(workspace.context(), webhooks.ListWebhooks("default")).webhooks
    for one in native:
        if one.format == "cloudevents":
            assert ask("GET", f"/{one.id}")[0] == 404
            assert ask("DELETE", f"/{one.id}")[0] == 404


def test_a_page_that_is_none_is_refused(ask):
    for wrong in ({"max_results": 0}, {"max_results": 1001}, {"max_results": -1}, {"max_results": "many"}):
        refused(ask("GET", "", wrong), "INVALID_PARAMETER_VALUE", "max_results")
    refused(ask("GET", "", {"page_token": "' OR 1=1"}), "INVALID_PARAMETER_VALUE", "page token")


def test_those_of_another_project_are_neither_shown_nor_changed(ask, make):
    id_ = make()[1]["webhook"]["webhook_id"]
    for method, path, body in (
        ("GET", f"/{id_}", None),
        ("PATCH", f"/{id_}", {"url": "https://8.8.4.4/"}),
        ("DELETE", f"/{id_}", None),
        ("POST", f"/{id_}/test", None),
    ):
        assert ask(method, path, body, prefix="/projects/other")[0] == 404
    assert ask("GET", prefix="/projects/other") == (200, {})
    assert ask("GET", f"/{id_}")[1]["webhook"]["url"] == ADDRESS


@pytest.mark.parametrize(
    "url",
    [
        "http://8.8.8.8/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://2130706433/",
        "https://127.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/",
        "https://8.8.8.8:22/",
        "https://user@8.8.8.8/",
        "https://8.8.8.8/#x",
        "https://8.8.8.8\\@127.0.0.1/",
        "file:///etc/passwd",
        "gopher://8.8.8.8/",
        "//8.8.8.8/",
        "nothing",
        "https://8.8.8.8/" + "x" * 5000,
    ],
)
def test_an_address_that_is_not_public_is_refused_when_made_and_when_changed(ask, make, workspace, url):
    status, answer = make(url=url)
    assert (status, answer["error_code"]) in {(400, "INVALID_PARAMETER_VALUE"), (413, "INVALID_PARAMETER_VALUE")}
    id_ = make()[1]["webhook"]["webhook_id"]
    before = len(list_events(workspace.context(), ListEvents(limit=100)))
    status, answer = ask("PATCH", f"/{id_}", {"url": url})
    assert (status, answer["error_code"]) in {(400, "INVALID_PARAMETER_VALUE"), (413, "INVALID_PARAMETER_VALUE")}
    assert ask("GET", f"/{id_}")[1]["webhook"]["url"] == ADDRESS
    assert len(list_events(workspace.context(), ListEvents(limit=100))) == before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": ""}, "Missing value for required parameter 'name'"),
        ({"name": "-a"}, "cannot name a webhook"),
        ({"name": "n" * 64}, "cannot name a webhook"),
        ({"url": ""}, "Missing value for required parameter 'url'"),
        ({"events": []}, "Missing value for required parameter 'events'"),
        ({"events": [{"entity": "MODEL_VERSION"}]}, "Missing value for required parameter 'events[0].action'"),
        ({"events": [{"entity": "MODEL_VERSION", "action": "DELETED"}]}, "Invalid action 'DELETED' for entity"),
        ({"events": [{"entity": "RUN", "action": "CREATED"}]}, "Invalid action 'CREATED' for entity 'RUN'"),
        ({"events": "MODEL_VERSION"}, "'events'"),
        ({"secret": "\n"}, "printable ASCII"),
    ],
)
def test_what_is_no_webhook_is_refused(make, ask, given, said):
    refused(make(**given), "INVALID_PARAMETER_VALUE", said)
    assert ask("GET") == (200, {})


def test_a_test_says_how_it_went_and_shows_nothing_of_the_answer(ask, make, monkeypatch):
    from undrift.events.webhooks import operations
    from undrift.events.webhooks.sending import Answer

    id_ = make(events=[TAGGED])[1]["webhook"]["webhook_id"]
    sent = []

    def post(target, found, headers, body, **_):
        sent.append((target.authority, headers, body))
        return Answer(204)

    monkeypatch.setattr(operations, "post", post)
    assert ask("POST", f"/{id_}/test") == (200, {"result": {"success": True, "response_status": 204}})
    assert ask("POST", f"/{id_}/test", {"event": CREATED})[0] == 200
    assert [b'"entity":"model_version_tag"' in body for _, _, body in sent] == [True, False]
    assert sent[0][0] == "8.8.8.8"
    assert "X-MLflow-Delivery-Id" in sent[0][1]
    monkeypatch.setattr(operations, "post", lambda *_, **__: Answer(None, "Nobody answered."))
    failed = ask("POST", f"/{id_}/test")
    assert failed == (200, {"result": {"success": False, "error_message": "Nobody answered."}})
    refused(
        ask("POST", f"/{id_}/test", {"event": {"entity": "A", "action": "B"}}), "INVALID_PARAMETER_VALUE", "Invalid"
    )


def test_what_the_registry_does_is_told_to_a_webhook_that_mlflow_made(ask, make, http, workspace, monkeypatch):
    from undrift.events.webhooks import delivery

    make(events=[{"entity": "REGISTERED_MODEL", "action": "CREATED"}])
    made = http.post("/api/2.0/mlflow/registered-models/create", json={"name": "late", "description": "Is it late?"})
    assert made.status_code == 200
    queued = []
    monkeypatch.setattr(delivery, "post", lambda *given, **_: queued.append(given[3]) or delivery.Answer(200))
    report = webhooks.deliver_due(workspace.context, now=workspace.context().now())
    assert (report.queued, report.delivered) == (1, 1), report
    assert b'"name":"late"' in queued[0]
    assert b'"entity":"registered_model","action":"created"' in queued[0]
