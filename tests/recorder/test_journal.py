from __future__ import annotations

import errno
import os

from hypothesis import given
from hypothesis import strategies as st

from undrift.recorder.journal import Journal


def everything(journal, limit_bytes=1 << 20):
    found = []
    while (batch := journal.take(limit_bytes)).payloads:
        found += batch.payloads
        journal.done(batch)
    journal.done(batch)
    return found


@given(
    st.lists(st.one_of(st.binary(max_size=40).map(lambda b: b.hex().encode()), st.just("take"), st.just("open"))),
    st.integers(1, 200),
    st.integers(1, 300),
)
def test_what_goes_in_comes_out_once_in_order_whatever_is_done_between(tmp_path_factory, steps, limit, segment):
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder, "records", segment_bytes=segment)
    put, got = [], []
    for step in steps:
        if step == "take":
            batch = journal.take(limit)
            got += batch.payloads
            journal.done(batch)
        elif step == "open":
            journal.close()
            journal = Journal(folder, "records", segment_bytes=segment)
        else:
            assert journal.append(step)
            put.append(step)
    got += everything(journal, limit)
    assert got == put
    assert journal.waiting_bytes == 0
    journal.close()


def test_what_was_taken_but_not_done_comes_again_after_a_crash(tmp_path):
    journal = Journal(tmp_path, "records")
    for number in range(5):
        journal.append(b"%d" % number)
    journal.done(journal.take(11))
    assert journal.take(1000).payloads == [b"1", b"2", b"3", b"4"]

    assert everything(Journal(tmp_path, "records")) == [b"1", b"2", b"3", b"4"]


def test_a_line_cut_short_by_a_crash_is_passed_over_and_what_follows_is_read(tmp_path):
    journal = Journal(tmp_path, "records")
    journal.append(b'"whole"')
    journal.close()
    (path,) = tmp_path.glob("records-*.jsonl")
    path.write_bytes(path.read_bytes() + b"00000000 half")

    again = Journal(tmp_path, "records")
    again.append(b'"later"')
    assert everything(again) == [b'"whole"', b'"later"']
    assert again.damaged == 1
    again.close()


def test_damaged_lines_are_counted_once_however_often_they_are_read(tmp_path):
    journal = Journal(tmp_path, "records")
    for number in range(3):
        journal.append(b"%d" % number)
    journal.close()
    segment = tmp_path / "records-00000001.jsonl"
    segment.write_bytes(segment.read_bytes().replace(b" 1\n", b" 7\n"))
    journal = Journal(tmp_path, "records")
    for _ in range(2):
        batch = journal.take(1000)
        assert batch.payloads == [b"0", b"2"]
    journal.done(batch)
    assert (journal.damaged, journal.waiting_bytes) == (1, 0)


def test_a_file_that_was_cut_off_meanwhile_ends_where_it_ends(tmp_path):
    journal = Journal(tmp_path, "records")
    for number in range(3):
        journal.append(b"%d" % number)
    (tmp_path / "records-00000001.jsonl").write_bytes(b"")
    batch = journal.take(1000)
    assert batch.payloads == []
    journal.done(batch)
    assert journal.waiting_bytes == 0


def test_segments_that_were_sent_give_their_space_back(tmp_path):
    journal = Journal(tmp_path, "records", segment_bytes=100)
    for number in range(100):
        journal.append(b"%050d" % number)
    assert len(list(tmp_path.glob("*.jsonl"))) == 50
    everything(journal)
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    journal.close()


def test_what_exceeds_the_limit_is_refused_but_how_the_run_ended_is_not(tmp_path):
    journal = Journal(tmp_path, "records", limit_bytes=100)
    assert [journal.append(b"x" * 50) for _ in range(3)] == [True, False, False]
    assert journal.append(b'"end"', must=True)
    everything(journal)
    assert journal.append(b"x" * 50)
    journal.close()


def test_on_a_full_disk_lines_wait_in_memory_in_order_and_go_to_disk_when_there_is_room(tmp_path, monkeypatch):
    journal = Journal(tmp_path, "records", memory_bytes=60)
    journal.append(b"1")
    write, full = os.write, True

    def half(descriptor, data):
        if not full:
            return write(descriptor, data)
        if len(data) > 15:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:4])

    monkeypatch.setattr(os, "write", half)
    assert journal.append(b"2")
    assert journal.append(b"3" * 20)
    assert "full" in journal.error
    assert not journal.append(b"4" * 30), "memory is full, too"
    taken = journal.take(1000)
    assert taken.payloads == [b"1"]
    journal.done(taken)
    assert journal.take(1000).payloads == [b"2", b"3" * 20], "what waits in memory can be sent"

    full = False
    assert journal.append(b"5")
    assert not journal.error
    journal.close()
    assert everything(Journal(tmp_path, "records")) == [b"2", b"3" * 20, b"5"]


def test_lines_sent_from_memory_are_gone(tmp_path):
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "below", "records")
    assert journal.append(b"1")
    assert journal.append(b"2")
    assert journal.error
    assert everything(journal) == [b"1", b"2"]
    assert journal.waiting_bytes == 0
