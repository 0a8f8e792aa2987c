"""What logging costs the code that trains."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
import time


def measured(run, times=20_000):
    costs = []
    clock = time.perf_counter_ns
    gc.collect()
    for step in range(times):
        began = clock()
        run.log(loss=0.3, step=step)
        costs.append(clock() - began)
        if step % 100 == 0:
            time.sleep(0.0005)  # as training would, which lets go of the interpreter now and then
    costs.sort()
    return costs[times // 2] / 1000, costs[times * 99 // 100] / 1000


def test_logging_costs_microseconds_with_a_workspace_and_with_a_dead_hub(record, unused_port, points):
    run = record()
    p50, p99 = measured(run)
    run.end(wait_s=30)
    assert len(points(run.id, "loss")) == 20_000
    dead = record(target=f"http://127.0.0.1:{unused_port}")
    dead_p50, dead_p99 = measured(dead)
    # A few microseconds measured; the limits leave room for a machine that does other things, too.
    assert max(p50, dead_p50) < 20
    assert max(p99, dead_p99) < 200


def test_neither_importing_undrift_nor_beginning_a_run_loads_what_sends():
    code = (
        "import sys, undrift\n"
        "assert 'undrift.recorder' not in sys.modules\n"
        "import undrift.recorder\n"
        "print([name for name in ('sqlalchemy', 'httpx', 'psutil', 'numpy', 'undrift.client') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_waits_gives_the_garbage_collector_nothing_to_look_at(record):
    from undrift.recorder.lanes import Logged

    run = record()
    run._queue = kept = type(run._queue)()
    run.log(loss=0.3)
    (entry,) = kept
    assert isinstance(entry, Logged)
    assert not gc.is_tracked(entry)
    assert not gc.is_tracked(entry.values)


def test_what_training_logs_is_its_own(train, start_hub, find):
    process = train(
        "import logging, sys, time\nlogging.basicConfig(level=logging.INFO)\nimport undrift as ud\n"
        "run = ud.run('flights', target=sys.argv[1], capture=False, system_metrics=False)\n"
        "print(run.id, flush=True)\n"
        "run.log(loss=1)\nrun.artifact('a.txt', content='one')\nrun.end(wait_s=30)\n"
        "import httpx\nhttpx.get(sys.argv[1])\n",
        start_hub().url,
        UNDRIFT_QUIET="1",
    )
    run_id = process.stdout.readline().strip()
    _, err = process.communicate(timeout=60)
    assert find(run_id).status == "finished"
    assert err.count("HTTP Request") == len(err.splitlines()) == 1


def test_signals_are_handled_as_they_were_once_no_run_is_open_and_in_children_that_say_nothing(train, workspace, find):
    process = train(
        """
import os, signal, sys
import undrift as ud
def handled():
    return signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
run = ud.run("flights", target=sys.argv[1], capture=False, system_metrics=False)
print(run.id, handled(), flush=True)
if (pid := os.fork()) == 0:
    before = handled()
    run.log(child=1)
    print(before, handled(), flush=True)
    sys.exit(0)
os.waitpid(pid, 0)
print(handled(), flush=True)
run.end(wait_s=30)
print(handled(), flush=True)
""",
        workspace,
    )
    run_id, *said = process.communicate(timeout=60)[0].split()
    assert said == ["True", "False", "True", "True", "False"]
    assert find(run_id).metrics == {"child": 1.0}


def test_what_training_draws_at_random_is_the_same_with_a_run_and_without(record, unused_port, eventually):
    random.seed(7)
    before = random.getstate()
    dead = record(target=f"http://127.0.0.1:{unused_port}")
    dead.log(loss=0.3)
    eventually(lambda: dead._records is not None and dead._records.trouble)
    run = record()
    for name in ("one", "two", "three"):
        run.artifact(f"{name}.txt", content="the same")
    run.end(wait_s=30)
    assert random.getstate() == before
