"""Whatever is away, full, slow or killed: training goes on, and what reached the file arrives once."""

from __future__ import annotations

import http.server
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

import undrift as ud
from undrift import tracking
from undrift.recorder import sync_runs
from undrift.recorder.spool import About, Spool, find_spools

TRAIN = """
import sys, time
import undrift as ud
run = ud.run("flights", target=sys.argv[1], capture=False, system_metrics=False)
print(run.id, flush=True)
"""


def sent(folder, **given):
    return list(sync_runs(folder, **given))


class Answers(http.server.BaseHTTPRequestHandler):
    """Something at the hub's address that answers every call in the same wrong way."""

    def do_POST(self):
        self.server.asked += 1
        if self.server.sleep_s:
            time.sleep(self.server.sleep_s)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


@pytest.fixture
def answering():
    """Start a server that answers every call with a status, after a while."""
    servers = []

    def start(status, sleep_s=0.0):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        server.daemon_threads = True
        server.block_on_close = False
        server.status, server.sleep_s, server.asked = status, sleep_s, 0
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return server, f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_with_a_dead_hub_training_goes_on_and_all_of_it_is_sent_later(
    record, runs, workspace, points, find, unused_port
):
    run = record(target=f"http://127.0.0.1:{unused_port}")
    for step in range(5_000):
        run.log(loss=step)
    run.parameters(lr=0.1)
    began = time.monotonic()
    run.end(wait_s=1.0)
    assert time.monotonic() - began < 3
    assert not run.losses

    run._spool.close()  # what the end of the process does
    (left,) = sent(runs)
    assert left.state == "left"
    assert "did not answer" in left.trouble

    (there,) = sent(runs, target=workspace)
    assert (there.state, there.points, there.trouble) == ("sent", 5_000, "")
    assert points(run.id, "loss") == [(step, float(step)) for step in range(5_000)]
    assert (find(run.id).status, find(run.id).parameters) == ("finished", {"lr": 0.1})
    assert sent(runs, target=workspace) == []


@pytest.mark.parametrize(("status", "sleep_s"), [(500, 0.0), (503, 0.0), (200, 5.0), (404, 0.0)])
def test_a_hub_that_answers_wrongly_or_slowly_costs_nothing_but_the_wait_at_the_end(
    record, runs, workspace, points, answering, status, sleep_s
):
    server, url = answering(status, sleep_s)
    run = record(target=url)
    slowest = 0.0
    for step in range(500):
        began = time.perf_counter()
        run.log(loss=step)
        slowest = max(slowest, time.perf_counter() - began)
        time.sleep(0.001)
    began = time.monotonic()
    run.end(wait_s=1.0)
    assert time.monotonic() - began < 2.5
    assert slowest < 0.1
    assert server.asked >= 1
    run._spool.close()
    (there,) = sent(runs, target=workspace)
    assert there.state == "sent"
    assert len(points(run.id, "loss")) == 500


@pytest.mark.slow
def test_a_hub_that_is_killed_in_the_middle_and_comes_back_has_every_point_once(record, start_hub, points, find, runs):
    hub = start_hub()
    run = record(target=hub.url)
    for step in range(2_000):
        run.log(loss=step)
        if step in {300, 1_200}:
            time.sleep(0.4)
            hub.kill()
            hub.wait()
            hub = start_hub(hub.url.rpartition(":")[2])
    run.end(wait_s=30)
    assert points(run.id, "loss") == [(step, float(step)) for step in range(2_000)]
    assert find(run.id).status == "finished"
    assert not list(find_spools(runs))


def test_a_training_that_is_killed_loses_nothing_that_reached_the_file(train, workspace, runs, points, find):
    process = train(
        TRAIN
        + """
for step in range(10**9):
    run.log(loss=step)
    if step == 2000:
        print(run.flush(), flush=True)
    time.sleep(0.0005)
""",
        workspace,
    )
    run_id = process.stdout.readline().strip()
    assert process.stdout.readline().strip() == "True"
    process.send_signal(signal.SIGKILL)
    process.wait()

    (there,) = sent(runs)
    assert (there.run_id, there.state) == (run_id, "sent")
    kept = points(run_id, "loss")
    assert len(kept) >= 2_001
    assert kept == [(step, float(step)) for step in range(len(kept))]
    run = find(run_id)
    assert run.status == "killed"
    assert "without saying how" in run.error
    assert run.ended_at >= run.started_at
    assert sent(runs) == []


@pytest.mark.slow
def test_sending_that_is_killed_sends_the_rest_when_done_again(train, workspace, runs, points):
    process = train(
        TRAIN + "for step in range(30_000): run.log(loss=step)\nrun.flush()\nrun.end()", workspace, UNDRIFT_OFFLINE="1"
    )
    run_id = process.stdout.readline().strip()
    process.wait(30)
    sync = "import sys\nfrom undrift.recorder import sync_runs\nprint(1, flush=True)\nprint(list(sync_runs()))"
    for wait_s in (0.5, 1.0, 1.4, 1.8, 2.2):
        process = train(sync)
        process.stdout.readline()
        time.sleep(wait_s)
        process.kill()
        process.wait()
    sent(runs, target=workspace)
    assert points(run_id, "loss") == [(step, float(step)) for step in range(30_000)]
    assert not list(find_spools(runs))


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Interrupted")], ids=["SIGTERM", "SIGINT"]
)
@pytest.mark.parametrize("inside", ["with run:\n    ", ""], ids=["with", "without"])
def test_a_signal_ends_the_run_as_killed_and_the_process_as_it_would_have(
    train, workspace, find, points, number, error, inside
):
    process = train(TRAIN + f"{inside}run.log(loss=1); print('logged', flush=True); time.sleep(60)", workspace)
    run_id = process.stdout.readline().strip()
    process.stdout.readline()
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == -number
    run = find(run_id)
    assert run.status == "killed"
    assert error in run.error
    assert points(run_id, "loss") == [(0, 1.0)]


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("run.log(loss=1)", "finished", ""),
        ("run.log(loss=1)\n1 / 0", "failed", "ZeroDivisionError: division by zero"),
        ("run.log(loss=1)\nsys.exit(3)", "finished", ""),
    ],
)
def test_a_script_that_forgets_the_end_is_ended_when_it_ends(train, workspace, find, code, status, error):
    process = train(TRAIN + code, workspace)
    run_id = process.stdout.readline().strip()
    process.communicate(timeout=30)
    run = find(run_id)
    assert (run.status, run.error, run.metrics) == (status, error, {"loss": 1.0})


@pytest.mark.slow
def test_a_forked_child_sends_nothing_of_its_parent_and_what_it_says_itself_arrives(
    train, workspace, points, find, runs, eventually
):
    process = train(
        TRAIN
        + """
import multiprocessing, os
for step in range(1000):
    run.log(parent=step)
def work(which):
    for step in range(100):
        run.log({f"child{which}": step}, step=step)
context = multiprocessing.get_context("fork")
children = [context.Process(target=work, args=(which,)) for which in range(3)]
for child in children:
    child.start()
if (pid := os.fork()) == 0:
    sys.exit(0)
os.waitpid(pid, 0)
for child in children:
    child.join()
print([child.exitcode for child in children], flush=True)
run.log(parent=1000)
run.end()
""",
        workspace,
    )
    run_id = process.stdout.readline().strip()
    out, err = process.communicate(timeout=60)
    assert "[0, 0, 0]" in out, err
    assert points(run_id, "parent") == [(step, float(step)) for step in range(1_001)]
    for which in range(3):
        assert points(run_id, f"child{which}") == [(step, float(step)) for step in range(100)]
    assert find(run_id).status == "finished"
    assert not list(find_spools(runs))


def test_processes_that_begin_at_the_same_moment_write_into_folders_of_their_own(tmp_path, monkeypatch):
    about = About("0" * 32, "default", "flights", "", owner=False, pid=1, began_at=datetime.now(UTC))
    first = Spool.begin(tmp_path, about)
    # As if the other one had looked before the first one made its folder.
    monkeypatch.setattr(Path, "exists", lambda path: False)
    second = Spool.begin(tmp_path, about)
    monkeypatch.undo()
    assert first.folder != second.folder
    for spool in (first, second):
        assert spool.records.append(b"1")
        assert not spool.lacks()
    first.close(remove=True)
    assert second.records.take(100).payloads == [b"1"]
    second.close()


def test_a_child_that_is_terminated_does_not_end_the_run_of_its_parent(train, workspace, find):
    process = train(
        TRAIN
        + """
import multiprocessing
child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
child.start()
time.sleep(0.3)
child.terminate()
child.join()
print(child.exitcode, run.status, flush=True)
run.log(loss=1)
run.end()
""",
        workspace,
    )
    run_id = process.stdout.readline().strip()
    assert process.stdout.readline().split() == ["-15", "running"]
    process.communicate(timeout=30)
    assert find(run_id).status == "finished"


FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
"""


@pytest.mark.slow
def test_with_a_full_disk_and_a_hub_nothing_is_lost(train, workspace, points, start_hub, find):
    hub = start_hub()
    # No file of this process may grow beyond 20,000 bytes: the kernel refuses as a full disk would.
    process = train(
        TRAIN + FULL + "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "for step in range(20_000): run.log(loss=step)\nrun.end(wait_s=30)\nprint(run.losses)",
        hub.url,
    )
    run_id = process.stdout.readline().strip()
    out, err = process.communicate(timeout=60)
    assert "{}" in out, err
    assert points(run_id, "loss") == [(step, float(step)) for step in range(20_000)]
    assert find(run_id).status == "finished"


def test_with_a_full_disk_and_no_hub_what_is_dropped_is_counted(
    train, workspace, points, unused_port, find, runs, monkeypatch
):
    process = train(
        TRAIN.replace(
            "run = ",
            "from undrift.recorder import journal\njournal._MEMORY_BYTES = 30_000\n"
            "journal.Journal.__init__.__kwdefaults__['memory_bytes'] = 30_000\nrun = ",
        )
        + FULL
        + "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "for step in range(20_000): run.log(loss=step)\nrun.flush()\nprint(run.losses, flush=True)\nrun.end(wait_s=1)\n"
        "print('ended')",
        f"http://127.0.0.1:{unused_port}",
    )
    run_id = process.stdout.readline().strip()
    out, err = process.communicate(timeout=60)
    assert "dropped_points" in out
    assert "ended" in out
    assert "points were dropped" in err
    assert "not complete" in err
    (there,) = sent(runs, target=workspace)
    kept = points(run_id, "loss")
    assert 0 < len(kept) == there.points < 20_000
    assert kept == [(step, float(step)) for step, _ in kept]


def test_where_nothing_can_be_written_what_is_said_is_sent_from_memory(record, monkeypatch, tmp_path, points, find):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNDRIFT_RUNS", str(tmp_path / "file" / "runs"))
    with record() as run:
        run.log(loss=1)
        run.artifact("note.txt", content="cannot be kept")
    assert points(run.id, "loss") == [(0, 1.0)]
    assert find(run.id).status == "finished"
    assert run.losses == {"missing_artifacts": 1}


def test_more_than_can_be_written_is_dropped_and_counted_in_the_run(record, find, points, monkeypatch):
    from undrift.recorder import live

    monkeypatch.setattr(live, "_ROOM", 100)
    with record() as run:
        for step in range(50_000):
            run.log(loss=step)
    there = find(run.id)
    dropped = int(there.tags["undrift.dropped_points"])
    assert dropped == run.losses["dropped_points"] > 0
    assert len(points(run.id, "loss")) == 50_000 - dropped
    assert there.status == "finished"


def open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_many_runs_in_a_run_hold_few_threads_and_files_while_the_hub_is_away_and_all_arrive(
    record, start_hub, find, points, eventually, unused_port
):
    run = record(target=f"http://127.0.0.1:{unused_port}")
    threads, files = threading.active_count(), open_files()
    ids = []
    for number in range(60):
        child = run.child(f"trial {number}")
        child.log(loss=number)
        if number % 10 == 0:
            child.artifact("note.txt", content="note")
        # One after the other, as trials of a search are.
        eventually(lambda child=child: child._records.trouble)
        child.end()
        ids.append(child.id)
    eventually(lambda: threading.active_count() < threads + 50)
    assert open_files() < files + 250
    start_hub(unused_port)
    run.end(wait_s=60)
    for number, id_ in enumerate(ids):
        assert find(id_).parent_id == run.id
        assert points(id_, "loss") == [(0, number)]
    assert not run.folder.exists()


def test_a_run_that_was_deleted_or_is_unknown_keeps_what_it_says_until_it_is_back(
    record, runs, workspace, points, find, eventually, blank
):
    run = record()
    run.log(loss=1)
    eventually(lambda: points(run.id, "loss"))
    with ud.connect(workspace) as client:
        client.call(tracking.delete_run, tracking.DeleteRun(run.id))
        run.log(loss=2)
        run.artifact("note.txt", content="note")
        run.end(wait_s=0.5)
        eventually(run._writer.finished.is_set)
        for lane in run._senders:  # else they go on trying
            lane.leave()
            assert lane.left.wait(20)
        run._spool.close()
        (left,) = sent(runs, target=workspace)
        assert (left.state, left.refused) == ("left", 0)
        (left,) = sent(runs, target=blank)
        assert (left.state, left.refused) == ("left", 0)
        client.call(tracking.restore_run, tracking.RestoreRun(run.id))
    (there,) = sent(runs, target=workspace)
    assert (there.state, there.refused, there.files) == ("sent", 0, 1)
    assert points(run.id, "loss") == [(0, 1.0), (1, 2.0)]
    assert find(run.id).status == "finished"


def test_a_workspace_that_is_not_there_keeps_the_run_in_its_folder(record, runs, workspace):
    run = record(target=workspace / "not-there")
    run.log(loss=1)
    run.end(wait_s=0.5)
    assert "no workspace" in (run._records.trouble)
    assert len(list(find_spools(runs))) == 1
    assert run.folder.exists()
