"""What becomes of processes that end: played with a clock and children of wood."""

from __future__ import annotations

import pytest

from undrift.cli import supervise
from undrift.cli.supervise import Process, Supervisor
from undrift.core.errors import Unavailable


class Wooden:
    """A child that ends when the test says so."""

    def __init__(self, args, log):
        self.args = args
        self.log = log
        self.exit_code = None
        self.process = self
        self.pid = 7
        self.text = "undrift worker: ready (late)\n"
        self.stopped = []

    def said(self, *, everything=False):
        return self.text

    def last_lines(self):
        return self.text.strip()

    def stop(self):
        return True

    def kill(self):
        self.exit_code = -9


class Stage:
    def __init__(self, monkeypatch, tmp_path):
        self.now = 1000.0
        self.children = []
        self.told = []
        monkeypatch.setattr(supervise.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(supervise, "start_child", self.start)
        monkeypatch.setattr(supervise, "answers", lambda _url, whatever: True)
        self.processes = [Process("hub", ["hub"], tmp_path, url="http://h"), Process("worker", ["worker"], tmp_path)]
        self.supervisor = Supervisor(self.processes, lambda *what: self.told.append(what))

    def start(self, args, log):
        self.children.append(Wooden(args, log))
        return self.children[-1]

    def look(self, after_s=0.0):
        self.now += after_s
        self.supervisor.look()

    def newest(self, name):
        return next(child for child in reversed(self.children) if child.args == [name])


@pytest.fixture
def stage(monkeypatch, tmp_path):
    return Stage(monkeypatch, tmp_path)


@pytest.fixture
def running(stage):
    stage.look()
    stage.look()
    assert stage.supervisor.complete
    stage.told.clear()
    return stage


def test_all_are_started_at_once_and_told_when_ready(stage):
    stage.look()
    assert [child.args for child in stage.children] == [["hub"], ["worker"]]
    assert not stage.supervisor.complete
    stage.look()
    assert stage.told == [("hub", "ready", {"pid": 7, "url": "http://h"}), ("worker", "ready", {"pid": 7, "url": None})]


def test_what_ends_is_started_again_after_a_pause(running):
    running.newest("hub").exit_code = -9
    running.look(after_s=3600)
    assert running.told[0][:2] == ("hub", "ended")
    assert running.told[0][2]["again_in_s"] == 0.2
    running.look()
    assert len(running.children) == 2
    running.look(after_s=0.2)
    running.look()
    assert running.told[-1][:2] == ("hub", "ready")


def test_pauses_grow_while_it_ends_quickly_and_it_is_given_up_after_five_times(running):
    for pause_s in (0.2, 0.4, 0.8, 1.6):
        running.newest("worker").exit_code = 1
        running.look()
        assert running.told[-1][2]["again_in_s"] == pause_s
        running.look(after_s=pause_s)
    running.newest("worker").text = "the last words"
    running.newest("worker").exit_code = 1
    running.look()
    name, state, problem = running.told[-1]
    assert (name, state) == ("worker", "given up")
    assert "the last words" in problem["detail"]
    running.look(after_s=3600)
    assert running.processes[0].state == "ready"


def test_one_that_lived_long_counts_anew(running):
    for _ in range(20):
        running.newest("worker").exit_code = 1
        running.look(after_s=60)
        assert running.told[-1][2]["again_in_s"] == 0.2
        running.look(after_s=0.2)
        running.look()


def test_when_the_last_one_is_given_up_there_is_an_end(running):
    for _ in range(4):
        for name in ("hub", "worker"):
            running.newest(name).exit_code = 1
        running.look()
        running.look(after_s=10)
    for name in ("hub", "worker"):
        running.newest(name).exit_code = 1
    with pytest.raises(Unavailable):
        running.look()


@pytest.mark.parametrize("exit_code", [2, 3, 4, 6])
def test_at_the_start_an_error_that_trying_again_does_not_mend_is_the_end(exit_code, stage):
    stage.look()
    stage.newest("worker").exit_code = exit_code
    with pytest.raises(Unavailable, match=f"`undrift worker` ended with exit code {exit_code}"):
        stage.look()


def test_at_the_start_other_errors_are_tried_again(stage):
    stage.look()
    for pause_s in (0.2, 0.4, 0.8, 1.6):
        stage.newest("worker").exit_code = 7
        stage.look()
        stage.look(after_s=pause_s)
    stage.newest("worker").exit_code = 7
    with pytest.raises(Unavailable):
        stage.look()


def test_one_that_never_gets_ready_is_killed_and_started_again(stage):
    stage.look()
    stage.newest("worker").text = ""
    stage.look(after_s=121)
    assert stage.newest("worker").exit_code == -9
    stage.look()
    stage.look(after_s=1)
    assert len(stage.children) == 3


def test_one_that_cannot_be_started_now_is_tried_again_later(running, monkeypatch):
    def full(_args, _log):
        raise Unavailable("The disk is full.")

    running.newest("hub").exit_code = 1
    running.look()
    monkeypatch.setattr(supervise, "start_child", full)
    running.look(after_s=1)
    assert running.told[-1][:2] == ("hub", "ended")
    before = len(running.told)
    running.look(after_s=1)
    assert len(running.told) == before
    monkeypatch.setattr(supervise, "start_child", running.start)
    running.look(after_s=200)
    running.look()
    assert running.told[-1][:2] == ("hub", "ready")


def test_all_are_stopped_in_reverse_and_those_that_were_killed_are_named(running, monkeypatch):
    order = []
    for process, child in zip(running.processes, running.children, strict=True):
        child.stop = lambda name=process.name: order.append(name) or name == "hub"
    assert running.supervisor.stop() == ["worker"]
    assert order == ["worker", "hub"]
