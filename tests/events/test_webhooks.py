"""Webhooks: what can be made, found, changed and deleted, and what nobody ever gets to see."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift import events
from undrift.core.errors import Forbidden, Invalid, NotFound, TooLarge
from undrift.events import (
    CreateWebhook,
    DeleteWebhook,
    Event,
    EventLog,
    FindWebhook,
    ListDeliveries,
    ListEvents,
    ListWebhooks,
    Reach,
    RetryDelivery,
    UpdateWebhook,
    Webhook,
)
from undrift.events.webhooks import addresses
from undrift.events.webhooks.bodies import MLFLOW_EVENTS, mlflow_messages
from undrift.events.webhooks.model import Outgoing, headers_of, matches, pause_s, wait_s

PUBLIC = "https://93.184.216.34/hooks/T0/secret-part"
AT = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "do-not-show-me-4711"


@pytest.fixture
def ctx(database, make_ctx):
    return make_ctx(database)


def make(ctx, name="to-chat", **given):
    fields = {"project": "shop", "name": name, "url": PUBLIC, "event_types": ("model.",)} | given
    return events.create_webhook(ctx, CreateWebhook(**fields))


def test_a_webhook_is_made_found_listed_changed_and_deleted(ctx):
    made = make(ctx, secret=SECRET, description="For the team.")
    assert (made.name, made.url, made.event_types, made.status, made.has_secret) == (
        "to-chat",
        PUBLIC,
        ("model.",),
        "ACTIVE",
        True,
    )
    assert events.find_webhook(ctx, FindWebhook(made.id)) == made
    ctx.clock.advance_to(ctx.now() + timedelta(hours=1))
    changed = events.update_webhook(ctx, UpdateWebhook(made.id, name="renamed", status="DISABLED", description=""))
    assert changed == msgspec.structs.replace(
        made, name="renamed", status="DISABLED", description="", updated_at=ctx.now()
    )
    assert events.list_webhooks(ctx, ListWebhooks()).webhooks == (changed,)
    events.delete_webhook(ctx, DeleteWebhook(made.id))
    for gone in (
        lambda: events.find_webhook(ctx, FindWebhook(made.id)),
        lambda: events.update_webhook(ctx, UpdateWebhook(made.id, url=PUBLIC)),
        lambda: events.delete_webhook(ctx, DeleteWebhook(made.id)),
        lambda: events.test_webhook(ctx, events.TestWebhook(made.id)),
        lambda: events.list_deliveries(ctx, ListDeliveries(made.id)),
    ):
        with pytest.raises(NotFound, match=f"Webhook with ID {made.id} not found"):
            gone()
    told = [event.type for event in events.list_events(ctx, ListEvents(subject=f"webhooks/{made.id}"))]
    assert told == ["webhook.deleted", "webhook.updated", "webhook.created"]


def test_pages_are_newest_first_and_miss_none(ctx):
    made = [make(ctx, f"n{number}").id for number in range(5)]
    other = make(ctx, "other", project="another").id
    seen, token = [], None
    while True:
        page = events.list_webhooks(ctx, ListWebhooks(project="shop", max_results=2, page_token=token))
        seen += [one.id for one in page.webhooks]
        token = page.next_page_token
        if token is None:
            break
    assert seen == made[::-1]
    assert [one.id for one in events.list_webhooks(ctx, ListWebhooks(max_results=1)).webhooks] == [other]
    assert events.list_webhooks(ctx, ListWebhooks(project="nobody")).webhooks == ()


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_of_another_size_is_refused(ctx, limit):
    with pytest.raises(Invalid, match="A page cannot have"):
        events.list_webhooks(ctx, ListWebhooks(max_results=limit))


@pytest.mark.parametrize("token", ["x", "1.x", "1", "-1.0", "9" * 30 + ".0", "\u0661.0"])
def test_a_page_token_that_was_made_up_is_refused(ctx, token):
    made = make(ctx)
    with pytest.raises(Invalid):
        events.list_deliveries(ctx, ListDeliveries(made.id, page_token=token))
    with pytest.raises(Invalid):
        events.list_webhooks(ctx, ListWebhooks(page_token=token))


@pytest.mark.parametrize("name", ["", "-a", "a-", "a b", "a/b", "ä", "x" * 64, "a\n", ".", "a\x00"])
def test_a_name_that_is_none_is_refused(ctx, name):
    with pytest.raises(Invalid, match="cannot name a webhook"):
        make(ctx, name)
    made = make(ctx)
    with pytest.raises(Invalid, match="cannot name a webhook"):
        events.update_webhook(ctx, UpdateWebhook(made.id, name=name))


@pytest.mark.parametrize("name", ["a", "7", "A.b_c-d9", "x" * 63])
def test_a_name_of_up_to_63_characters_is_kept(ctx, name):
    assert make(ctx, name).name == name


@pytest.mark.parametrize(
    "given",
    [
        {"url": PUBLIC + "x" * 2000},
        {"secret": "x" * 501},
        {"description": "x" * 1001},
        {"event_types": tuple(f"a.b{n}" for n in range(51))},
    ],
)
def test_what_is_over_a_limit_is_refused_with_the_limit(ctx, given):
    with pytest.raises(TooLarge, match=r"most [\d,]+"):
        make(ctx, **given)


@pytest.mark.parametrize("types", [(), ("",), ("Model.",), ("model..x",), ("x" * 101,), ("**",), (".",)])
def test_types_of_events_that_are_none_are_refused(ctx, types):
    with pytest.raises(Invalid):
        make(ctx, event_types=types)


def test_each_format_has_its_own_words_for_what_is_wanted(ctx):
    made = make(ctx, format="mlflow", event_types=(), mlflow_events=("model_version.created", "prompt.created"))
    assert made.mlflow_events == ("model_version.created", "prompt.created")
    for wrong in (
        {"format": "mlflow"},
        {"mlflow_events": ("model_version.created",)},
        {"format": "mlflow", "event_types": ()},
        {"format": "mlflow", "event_types": (), "mlflow_events": ("model_version.deleted",)},
    ):
        with pytest.raises(Invalid):
            make(ctx, **wrong)
    changed = events.update_webhook(ctx, UpdateWebhook(made.id, format="cloudevents", event_types=("*",)))
    assert (changed.event_types, changed.mlflow_events) == (("*",), ())
    with pytest.raises(Invalid):
        events.update_webhook(ctx, UpdateWebhook(made.id, format="mlflow"))


def test_a_project_has_a_thousand_webhooks_at_most(ctx, monkeypatch):
    from undrift.events.webhooks import operations

    monkeypatch.setattr(operations, "_MOST_WEBHOOKS", 2)
    make(ctx)
    make(ctx)
    with pytest.raises(TooLarge):
        make(ctx)
    make(ctx, project="another")


def test_a_secret_and_the_path_of_an_address_are_nowhere_to_be_seen(ctx, monkeypatch):
    said = []
    request = CreateWebhook("shop", "to-chat", PUBLIC, ("*",), secret=SECRET)
    made = events.create_webhook(ctx, request)
    updated = events.update_webhook(ctx, UpdateWebhook(made.id, secret=SECRET + "2", url=PUBLIC + "2"))
    said += [repr(request), repr(UpdateWebhook(made.id, secret=SECRET, url=PUBLIC))]
    said += [str(one) for one in events.list_events(ctx, ListEvents())]
    for wrong in ({"url": "http://" + PUBLIC + SECRET}, {"secret": SECRET + "\n"}, {"secret": "whsec_" + SECRET}):
        with pytest.raises(Invalid) as caught:
            make(ctx, **wrong)
        said.append(str(caught.value.to_problem()))
    text = "\n".join(said)
    assert "secret-part" not in text
    shown = text + repr(made) + repr(updated) + msgspec.json.encode(events.list_webhooks(ctx, ListWebhooks())).decode()
    assert SECRET not in shown
    assert "secret" not in {field.name for field in msgspec.structs.fields(Webhook)}
    outgoing = Outgoing("a", "b", "c", PUBLIC, "mlflow", (SECRET,), 1, 0, "", None, 0, ())
    assert SECRET not in repr(outgoing)
    assert "secret-part" not in repr(outgoing)


def test_an_idempotent_call_keeps_no_secret_in_its_answer(ctx):
    import sqlalchemy as sa

    from undrift.metastore.schema import answers

    request = CreateWebhook("shop", "to-chat", PUBLIC, ("*",), secret=SECRET)
    first = events.create_webhook(ctx.once("key-1"), request)
    assert events.create_webhook(ctx.once("key-1"), request) == first
    with ctx.read() as tx:
        (body,) = tx.scalars(sa.select(answers.c.body))
    assert SECRET.encode() not in body


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://10.0.0.8/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://[fd00::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://100.64.0.1/",
        "https://224.0.0.1/",
        "https://0.0.0.0/",
        "http://93.184.216.34/",
        "https://93.184.216.34:22/",
    ],
)
def test_an_address_that_may_not_be_reached_is_refused_when_made_and_when_changed(ctx, url):
    with pytest.raises(Forbidden):
        make(ctx, url=url)
    made = make(ctx)
    with pytest.raises(Forbidden):
        events.update_webhook(ctx, UpdateWebhook(made.id, url=url))
    assert events.find_webhook(ctx, FindWebhook(made.id)).url == PUBLIC


def test_a_host_is_judged_by_all_the_addresses_it_has(ctx, monkeypatch):
    known = {"good.example": ["93.184.216.34", "2606:2800:21f:cb07::1"], "mixed.example": ["93.184.216.34", "10.0.0.1"]}

    def resolve(host, _timeout_s):
        if host not in known:
            raise OSError("no such host")
        return known[host]

    monkeypatch.setattr(addresses, "resolve", resolve)
    assert make(ctx, url="https://Good.example/x").url == "https://Good.example/x"
    with pytest.raises(Forbidden, match=r"mixed\.example does not lead to a public address"):
        make(ctx, url="https://mixed.example/")
    with pytest.raises(Invalid, match=r"unknown\.example cannot be looked up"):
        make(ctx, url="https://unknown.example/")


def test_what_the_workspace_allows_is_reached(database, make_ctx, monkeypatch):
    monkeypatch.setattr(addresses, "resolve", lambda host, _: {"chat.intern": ["10.1.2.3"]}[host])
    reach = Reach(("10.1.0.0/16", "192.168.0.7")).check()
    ctx = make_ctx(database, events=EventLog(reach))
    for url in ("http://10.1.9.9:8065/hook", "https://chat.intern/", "http://192.168.0.7/"):
        assert make(ctx, url=url).url == url
    for url in ("http://10.2.0.1/", "http://192.168.0.8/", "http://169.254.169.254/"):
        with pytest.raises(Forbidden):
            make(ctx, url=url)
    by_name = make_ctx(database, events=EventLog(Reach(("chat.intern",))))
    assert make(by_name, url="http://chat.intern:9000/")
    everything = make_ctx(database, events=EventLog(events.EVERYWHERE))
    assert make(everything, url="http://127.0.0.1:1/")
    # Where clouds hand out credentials has to be named.
    with pytest.raises(Forbidden):
        make(everything, url="http://169.254.169.254/")
    with pytest.raises(Invalid, match="no network"):
        Reach(("10.1.2.3/16",)).check()


def test_a_test_of_what_is_no_event_is_refused(ctx):
    made = make(ctx)
    for wrong in ("Nothing!", "model.", "*"):
        with pytest.raises(Invalid):
            events.test_webhook(ctx, events.TestWebhook(made.id, event=wrong))


def test_a_delivery_that_is_not_there_cannot_be_made_anew(ctx):
    with pytest.raises(NotFound):
        events.retry_delivery(ctx, RetryDelivery("0" * 32))
    with pytest.raises(Invalid):
        events.retry_delivery(ctx, RetryDelivery("../x"))


def signature(key, *parts):
    return "v1," + base64.b64encode(hmac.new(key, b".".join(parts), hashlib.sha256).digest()).decode()


@given(
    st.binary(),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1).filter(lambda s: s[:6] != "whsec_"),
)
def test_a_signature_is_what_the_receiver_computes(body, secret):
    outgoing = Outgoing("0" * 32, "", "", PUBLIC, "cloudevents", (secret, "old"), 1, 0, "", None, 0, ())
    seconds = str(int(AT.timestamp())).encode()
    headers = headers_of(outgoing, AT, body)
    assert headers["webhook-signature"].split(" ") == [
        signature(secret.encode(), b"0" * 32, seconds, body),
        signature(b"old", b"0" * 32, seconds, body),
    ]
    mlflow = headers_of(msgspec.structs.replace(outgoing, format="mlflow"), AT, body)
    id_ = mlflow["X-MLflow-Delivery-Id"]
    assert mlflow["X-MLflow-Signature"] == signature(secret.encode(), id_.encode(), seconds, body)


def test_a_signature_agrees_with_the_published_example():
    """The vector of the reference libraries of Standard Webhooks."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    outgoing = Outgoing("msg_p5jXN8AQM9LWM0D4loKWxJek", "", "", PUBLIC, "cloudevents", (secret,), 1, 0, "", None, 0, ())
    headers = headers_of(outgoing, datetime.fromtimestamp(1614265330, UTC), b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


def test_a_webhook_without_a_secret_is_not_signed():
    outgoing = Outgoing("0" * 32, "", "", PUBLIC, "cloudevents", (), 1, 0, "", None, 0, ())
    assert set(headers_of(outgoing, AT, b"")) == {"Content-Type", "webhook-id", "webhook-timestamp"}


@given(st.integers(1, 20), st.floats(0, 1e9), st.floats(0, 1), st.sampled_from(["cloudevents", "mlflow"]))
def test_a_wait_is_never_shorter_than_asked_nor_longer_than_an_hour(attempt, retry_after, spread, format_):
    wait = wait_s(format_, attempt, retry_after, spread)
    if wait is None:
        assert attempt >= {"cloudevents": 8, "mlflow": 4}[format_]
    else:
        assert 1 <= wait <= 3600
        assert wait >= min(retry_after, 3600)


def test_pauses_grow_and_end():
    assert [pause_s(n) for n in (0, 7, 8, 10, 10**6)] == [None, None, 30, 120, 600]


@given(st.text(max_size=30))
def test_no_type_but_a_wanted_one_matches(type_):
    assert matches(("model.", "run.ended"), type_) == (type_.startswith("model.") or type_ == "run.ended")


def event(type_, subject="models/late/3", **data):
    return Event(1, "0" * 32, type_, subject, "shop", AT, "ada", "t", data, "")


@pytest.mark.parametrize(
    ("given_event", "described", "told"),
    [
        (
            event("model.created", "models/my model", owner="ada"),
            {},
            [("registered_model.created", {"name": "my model", "tags": {}, "description": None})],
        ),
        (
            event("model.version_registered", run_id="r1", metrics={}),
            {"source": "mlflow-artifacts:/1", "tags": {"a": "b"}, "description": "Good"},
            [
                (
                    "model_version.created",
                    {
                        "name": "late",
                        "version": "3",
                        "source": "mlflow-artifacts:/1",
                        "run_id": "r1",
                        "tags": {"a": "b"},
                        "description": "Good",
                    },
                )
            ],
        ),
        (
            event("model.version_tagged", tags={"a": "1", "b": "2"}),
            {},
            [
                ("model_version_tag.set", {"name": "late", "version": "3", "key": "a", "value": "1"}),
                ("model_version_tag.set", {"name": "late", "version": "3", "key": "b", "value": "2"}),
            ],
        ),
        (
            event("model.version_tagged", key="a", value="1"),
            {},
            [("model_version_tag.set", {"name": "late", "version": "3", "key": "a", "value": "1"})],
        ),
        (
            event("model.version_untagged", key="a"),
            {},
            [("model_version_tag.deleted", {"name": "late", "version": "3", "key": "a"})],
        ),
        (
            event("model.alias_moved", alias="champion", number=3, previous=None),
            {},
            [("model_version_alias.created", {"name": "late", "alias": "champion", "version": "3"})],
        ),
        (
            event("model.alias_removed", "models/late", alias="champion"),
            {},
            [("model_version_alias.deleted", {"name": "late", "alias": "champion"})],
        ),
        (event("run.ended", "runs/1"), {}, []),
    ],
    ids=lambda one: one.type if hasattr(one, "type") else "",
)
def test_an_event_of_the_registry_is_told_as_mlflow_tells_it(given_event, described, told):
    assert [(one.event, one.data) for one in mlflow_messages(given_event, described)] == told


def test_mlflow_and_undrift_know_the_same_pairs_and_fields():
    from mlflow.entities.webhook import VALID_ENTITY_ACTIONS
    from mlflow.webhooks.types import EVENT_TO_PAYLOAD_CLASS

    from undrift.events.webhooks.bodies import example_message

    pairs = {f"{entity.value}.{action.value}" for entity, actions in VALID_ENTITY_ACTIONS.items() for action in actions}
    assert pairs == MLFLOW_EVENTS
    for (entity, action), payload in EVENT_TO_PAYLOAD_CLASS.items():
        if entity.value.startswith(("registered_model", "model_version")):
            assert example_message(f"{entity.value}.{action.value}").data == payload.example()


def test_a_disabled_webhook_gets_nothing_anew(ctx):
    from undrift.events import deliver_due

    made = make(ctx)
    with ctx.begin():
        ctx.emit("model.created", "models/late", project="shop")
    events.update_webhook(ctx, UpdateWebhook(made.id, status="DISABLED"))
    deliver_due(lambda: ctx, now=ctx.now())
    assert events.list_deliveries(ctx, ListDeliveries(made.id)).deliveries == ()
