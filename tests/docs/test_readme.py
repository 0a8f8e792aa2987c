"""What people copy works: Python blocks run, commands are those of the program, bodies are taken by who is asked."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cyclopts import CycloptsError

import undrift as ud
from undrift.cli.app import make_app
from undrift.core.errors import Invalid
from undrift.operations import all_operations, read_body
from undrift.project import build
from undrift.registry import Field, Signature
from undrift.serving.asks import predict_reader
from undrift.serving.contract import Contract
from undrift.serving.oip import oip_reader
from undrift.tracking import ListRuns, MetricHistory, list_runs, metric_history
from undrift.workspace import Workspace

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"`undrift ((?!COMMAND)[a-z]+)")
_INPUTS = (Field("distance_km", "float"), Field("items", "int"), Field("hour", "int"))


def blocks(page, language):
    return [text for kind, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def lines(page):
    """Return the commands of a page's shell blocks, each as words; a quoted body may run over several lines."""
    for block in blocks(page, "bash"):
        for line in re.split(r"\n(?=[^\s}])", block.strip()):
            yield shlex.split(line, comments=True)


def commands():
    for page in PAGES:
        for said in lines(page):
            if Path(said[0]).name == "undrift":
                yield pytest.param(said[1:], id=" ".join(said)[:80])


def curls():
    for said in lines(README):
        if said[0] == "curl":
            yield said[1], said[said.index("-d") + 1]


def known_commands():
    return {name for name in make_app() if not name.startswith("-")}


def test_the_project_of_the_readme_declares_what_it_says(tmp_path):
    first, *_ = blocks(README, "python")
    names = {}
    exec(compile(first, "README.md", "exec"), names)
    workspace = Workspace.open(tmp_path / ".undrift", create=True)
    try:
        built = build(workspace.context(), names["project"])
    finally:
        workspace.close()
    assert list(built.deployments) == ["late"]
    assert built.deployments["late"].recipe.features == [field.name for field in _INPUTS]


def test_the_client_of_the_readme_runs(tmp_path, monkeypatch):
    _, second, _recorded = blocks(README, "python")
    Workspace.open(tmp_path / ".undrift", create=True).close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNDRIFT_WORKSPACE", raising=False)
    exec(compile(second, "README.md", "exec"), {})
    assert ud.connect


def test_the_recorded_run_of_the_readme_is_kept(tmp_path, monkeypatch):
    *_, recorded = blocks(README, "python")
    workspace = Workspace.open(tmp_path / ".undrift", create=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNDRIFT_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("UNDRIFT_WORKSPACE", raising=False)
    subprocess.run([sys.executable, "-c", recorded], check=True, timeout=100)
    (run,) = list_runs(workspace.context(), ListRuns(project="default"))
    history = metric_history(workspace.context(), MetricHistory(run.id, "loss"))
    workspace.close()
    assert (run.experiment, run.status, run.parameters["depth"]) == ("late flights", "finished", 6)
    assert len(history.values) == 100


@pytest.mark.parametrize("said", list(commands()))
def test_every_command_line_is_one_the_program_takes(said):
    make_app().parse_args(said, exit_on_error=False, print_error=False)


def test_a_command_line_the_program_does_not_take_is_found():
    with pytest.raises(CycloptsError, match=r"(?i)unknown"):
        make_app().parse_args(["status", "--colour"], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_a_page_names_is_there(page):
    assert set(_NAMED.findall(page.read_text(encoding="utf-8"))) - known_commands() == set()


def test_every_command_an_error_names_is_there():
    named = {
        (str(file.relative_to(ROOT)), name)
        for file in (ROOT / "src").rglob("*.py")
        for name in _NAMED.findall(file.read_text(encoding="utf-8"))
    }
    assert {(file, name) for file, name in named if name not in known_commands()} == set()


def test_every_command_line_the_hub_shows_is_one_the_program_takes():
    templates = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "src").rglob("*.html"))
    shown = re.findall(r"<code>undrift ([^<]+)</code>", templates)
    assert shown
    refused = {}
    for said in shown:
        try:
            words = shlex.split(re.sub(r"{{.*?}}", "x", said))
            make_app().parse_args(words, exit_on_error=False, print_error=False)
        except CycloptsError as error:
            refused[said] = str(error)
    assert refused == {}


def test_every_make_target_a_page_names_is_there():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:^|`)make ([a-z]+)(?=`|$)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {"demo", "test", "check"} <= named
    assert named - targets == set()


def test_requests_of_the_readme_are_taken():
    contract = Contract(Signature(_INPUTS, "classification", "late"))
    readers = {"/v2/models/late/infer": oip_reader(contract), "/predict/late": predict_reader(contract)}
    operations = {f"/api/v1{operation.path}": operation for operation in all_operations().values()}
    asked = []
    for address, body in curls():
        path = re.sub(r"^http://127\.0\.0\.1:\d+", "", address)
        asked.append(path)
        if path in readers:
            ask = readers[path](body.encode())
            assert ask.ids
            assert ask.batch.rows == len(ask.ids)
        else:
            assert read_body(operations[path], body.encode()).labels
    assert len(asked) == 3
    assert readers.keys() <= set(asked)
    with pytest.raises(Invalid):
        readers["/predict/late"](json.dumps({"rows": [{"distance_km": 1.0}]}).encode())
