"""The client: the same calls give the same answers and the same exceptions, embedded and over HTTP."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from undrift import data, events, monitoring, registry, tracking
from undrift.client import connect
from undrift.core.errors import Conflict, Invalid, NotFound, TooLarge, Unavailable, UndriftError
from undrift.workspace import Workspace

ROOT = Path(__file__).parents[1]
MOMENT = datetime(2013, 4, 1, 12, 30, 15, 123456, tzinfo=UTC)
HUB = "import sys; from undrift.hub import run; run(sys.argv[1], port=0, on_ready=lambda url: print(url, flush=True))"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub in a process of its own: its address and its workspace folder."""
    folder = tmp_path_factory.mktemp("hub") / "workspace"
    Workspace.open(folder, create=True).close()
    process = subprocess.Popen([sys.executable, "-c", HUB, str(folder)], stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().strip(), folder
    process.terminate()
    assert process.wait(10) == 0
    process.stdout.close()


@pytest.fixture(params=["embedded", "over HTTP"])
def client(request, tmp_path):
    """A client of an own workspace, or of the hub."""
    if request.param == "over HTTP":
        target = request.getfixturevalue("hub")[0]
    else:
        target = tmp_path / "workspace"
        Workspace.open(target, create=True).close()
    with connect(target) as made:
        yield made


@pytest.fixture
def project(request):
    """A project of this test's own, for tests share the hub."""
    return request.node.originalname.replace("_", "-")[:60]


@pytest.fixture
def model(client, project):
    """A model without versions."""
    return client.registry.register_model(project=project, name="late", owner="ops@example.com")


def test_an_answer_is_of_the_type_the_operation_returns(client, project, model):
    assert isinstance(model, registry.Model)
    found = client.registry.list_models(project=project)
    assert found == [registry.ModelSummary(model, None, {})]


def test_what_was_written_is_read_again_unchanged(client, project):
    name = "späte Flüge \u2708 \U0001f6eb \x00 '\"<&\\"
    run = client.tracking.start_run(
        project=project,
        experiment="nightly",
        name=name,
        parameters={"größe": [1, 2.5, None, True, {"tief": "✈"}]},
        tags={"k": "v\n"},
        links=(tracking.RunLink("input", "dataset_version", "weather", "abc"),),
    )
    assert client.tracking.find_run(run_id=run.id) == run
    assert (run.name, run.parameters) == (name, {"größe": [1, 2.5, None, True, {"tief": "✈"}]})


def test_times_keep_their_microseconds_and_are_utc_whatever_zone_they_came_in(client, project):
    client.data.register_dataset(
        project=project, name="weather", key="k", time="t", known_at="t", owner="ada@example.com"
    )
    abroad = (MOMENT + timedelta(days=1)).astimezone(timezone(timedelta(hours=5, minutes=30)))
    client.data.add_quarantine(
        project=project, dataset="weather", columns=("temp",), start=MOMENT, end=abroad, reason="A unit changed."
    )
    (found,) = client.data.list_quarantines(project=project)
    assert (found.start, found.end) == (MOMENT, MOMENT + timedelta(days=1))
    assert (found.start.tzinfo, found.end.utcoffset()) == (UTC, timedelta(0))


def test_times_travel_in_a_query_string(client, project, model):
    before = MOMENT.astimezone(timezone(timedelta(hours=-7)))
    asked = {"project": project, "model": "late", "alias": "champion"}
    assert client.registry.find_alias(**asked, as_of=before) is None


def test_an_operation_without_an_answer_returns_none(client, project):
    run = client.tracking.start_run(project=project, experiment="nightly", name="one")
    assert client.tracking.log_run(run_id=run.id, metrics={"loss": 0.5}) is None
    assert client.tracking.find_run(run_id=run.id).metrics == {"loss": 0.5}


def test_calling_again_with_the_same_key_returns_the_first_answer_and_changes_nothing(client, project):
    key = f"{project} one"
    first = client.tracking.start_run(project=project, experiment="e", name="one", idempotency_key=key)
    again = client.tracking.start_run(project=project, experiment="e", name="one", idempotency_key=key)
    assert again == first
    assert len(client.tracking.list_runs(project=project)) == 1


def test_a_key_names_one_operation(client, project):
    key = f"{project} two"
    client.registry.register_model(project=project, name="late", owner="ada", idempotency_key=key)
    with pytest.raises(Conflict, match=r"was used for registry\.register_model"):
        client.tracking.start_run(project=project, experiment="e", name="one", idempotency_key=key)


@pytest.mark.parametrize("key", ["k" * 201, "schlüssel", "a\nb"])
def test_a_key_that_cannot_travel_is_refused(client, project, key):
    with pytest.raises(Invalid, match="is not an idempotency key"):
        client.registry.register_model(project=project, name="late", owner="ada", idempotency_key=key)


def calls(project):
    """What fails, with how it fails."""
    unknown = "0" * 32
    signature = registry.Signature((), "classification", "late")
    return {
        "not there": (NotFound, lambda c: c.registry.list_versions(project=project, model="nope")),
        "a run that is not there": (NotFound, lambda c: c.tracking.find_run(run_id=unknown)),
        "ambiguous": (Invalid, lambda c: c.registry.find_version(project=project, model="late")),
        "no signature": (
            Invalid,
            lambda c: c.registry.register_version(
                project=project, model="late", run_id=unknown, artifact="0" * 64, signature=signature
            ),
        ),
        "a bad name": (Invalid, lambda c: c.registry.register_model(project="a/b", name="late", owner="x")),
        "another type": (Invalid, lambda c: c.registry.register_model(project=7, name="late", owner="x")),
        "nothing where something must be": (
            Invalid,
            lambda c: c.registry.register_model(project=project, name="late", owner=None),
        ),
        "another type in a list": (
            Invalid,
            lambda c: c.monitoring.record_labels(endpoint="late", labels=(monitoring.Label("p", "x"),)),
        ),
        "no number": (
            Invalid,
            lambda c: c.monitoring.record_labels(endpoint="late", labels=(monitoring.Label("p", float("nan")),)),
        ),
        "a number nobody can keep": (Invalid, lambda c: c.monitoring.find_incident(number=2**70)),
        "a number nobody can keep, deep inside": (
            Invalid,
            lambda c: c.tracking.log_run(run_id=unknown, points=(tracking.MetricPoint("loss", 1.0, 2**63, MOMENT),)),
        ),
        "no time zone": (
            Invalid,
            lambda c: c.registry.find_alias(
                project=project, model="late", alias="champion", as_of=MOMENT.replace(tzinfo=None)
            ),
        ),
        "what JSON cannot say": (
            Invalid,
            lambda c: c.tracking.start_run(project=project, experiment="e", name="n", parameters={"x": object()}),
        ),
        "half a character": (Invalid, lambda c: c.registry.register_model(project=project, name="\ud800", owner="x")),
        "too much": (
            TooLarge,
            lambda c: c.monitoring.record_labels(
                endpoint="late", labels=tuple(monitoring.Label(str(n), 0.0) for n in range(10_001))
            ),
        ),
        "a state that does not fit": (
            Conflict,
            lambda c: c.data.register_dataset(
                project=project, name="weather", key="other", time="t", known_at="t", owner="x"
            ),
        ),
    }


@pytest.mark.parametrize("name", calls("p"))
def test_a_failure_is_the_same_exception_with_the_same_words_on_both_sides(name, tmp_path, hub, project):
    said = {}
    Workspace.open(tmp_path / "workspace", create=True).close()
    for target in (tmp_path / "workspace", hub[0]):
        with connect(target) as client:
            client.registry.register_model(project=project, name="late", owner="ada")
            client.data.register_dataset(project=project, name="weather", key="k", time="t", known_at="t", owner="a")
            kind, call = calls(project)[name]
            with pytest.raises(UndriftError) as caught:
                call(client)
            assert type(caught.value) is kind
            said[str(target)] = caught.value.to_problem()
    here, there = said.values()
    assert here == there


def test_any_operation_can_be_called_by_its_declaration(client, project, model):
    asked = registry.ListVersions(project, "late")
    assert client.call(registry.list_versions, asked) == []
    made = client.call(
        registry.register_model, registry.RegisterModel(project, "fare", "ada"), idempotency_key=f"{project} fare"
    )
    assert made.name == "fare"


def test_a_closed_client_says_so(client):
    client.close()
    client.close()
    with pytest.raises(Unavailable, match="was closed"):
        client.events.list()


def test_the_log_of_a_hub_can_be_verified_from_afar(client, project, model):
    found = client.events.verify()
    assert found.ok
    assert client.events.list(limit=1, project=project)[0].type == "model.created"


def test_nothing_given_and_no_workspace_teaches_the_next_step(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNDRIFT_WORKSPACE", raising=False)
    with pytest.raises(NotFound, match=r"There is no workspace at .*\.undrift\..* Make one with `undrift init`"):
        connect()


def test_the_environment_names_the_workspace(tmp_path, monkeypatch):
    Workspace.open(tmp_path / "elsewhere", create=True).close()
    monkeypatch.setenv("UNDRIFT_WORKSPACE", str(tmp_path / "elsewhere"))
    with connect() as client:
        assert client.registry.list_models() == []


def test_an_address_of_another_kind_is_refused():
    with pytest.raises(Invalid, match="is not the address of a hub"):
        connect("ftp://127.0.0.1/workspace")


def test_a_hub_that_is_not_there_is_unavailable(unused_port):
    with connect(f"http://127.0.0.1:{unused_port}") as client, pytest.raises(Unavailable, match="did not answer"):
        client.events.list()


def test_both_sides_see_the_same_workspace(hub):
    url, folder = hub
    with connect(folder) as here, connect(url) as there:
        here.registry.register_model(project="shared", name="late", owner="ada")
        assert there.registry.list_models(project="shared") == here.registry.list_models(project="shared")
        assert there.events.list(limit=5) == here.events.list(limit=5)
        assert isinstance(there.events.list(limit=1)[0], events.Event)


def test_importing_undrift_imports_no_client():
    code = "import sys, undrift; assert not {'undrift.client', 'sqlalchemy', 'httpx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30, env=os.environ | {"PYTHONPATH": ""})


def test_the_client_is_what_the_generator_writes():
    spec = importlib.util.spec_from_file_location("generate_client", ROOT / "scripts" / "generate_client.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.main(["--check"]) == 0


def test_a_struct_that_its_door_does_not_offer_cannot_be_written_by_the_generator():
    spec = importlib.util.spec_from_file_location("generate_client", ROOT / "scripts" / "generate_client.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    hidden = type("Hidden", (msgspec.Struct,), {"__module__": data.__name__ + ".model"})
    with pytest.raises(SystemExit, match="not offered by its door"):
        generator.render_type(hidden)
