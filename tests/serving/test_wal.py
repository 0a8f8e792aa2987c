"""The write-ahead file: what was appended is read back; damage is never read; a failing disk is told and heals."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift.serving import wal as module
from undrift.serving.wal import Wal, read_frames, writer_is_gone

PAYLOADS = st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=12)


def written(folder, payloads, **given):
    wal = Wal(folder, **given)
    for payload in payloads:
        assert wal.append(payload)
    wal.close()
    return sorted(folder.glob("*.wal"))


def payloads_of(*paths):
    return [payload for path in paths for payload, _ in read_frames(path)]


@given(payloads=PAYLOADS)
def test_what_was_appended_is_read_back_from_every_offset(tmp_path_factory, payloads):
    (path,) = written(tmp_path_factory.mktemp("wal"), payloads)
    offsets = [0]
    for number, (payload, offset) in enumerate(read_frames(path)):
        assert payload == payloads[number]
        offsets.append(offset)
    assert offsets[-1] == path.stat().st_size
    for number, offset in enumerate(offsets):
        assert [payload for payload, _ in read_frames(path, offset)] == payloads[number:]


@given(payloads=PAYLOADS, cut=st.floats(0, 1))
def test_a_file_that_was_cut_off_gives_a_prefix(tmp_path_factory, payloads, cut):
    (path,) = written(tmp_path_factory.mktemp("wal"), payloads)
    os.truncate(path, int(path.stat().st_size * cut))
    found = payloads_of(path)
    assert found == payloads[: len(found)]


@given(payloads=PAYLOADS, place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_ends_the_reading_before_it(tmp_path_factory, payloads, place, bit):
    (path,) = written(tmp_path_factory.mktemp("wal"), payloads)
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1 << bit
    path.write_bytes(content)
    found = payloads_of(path)
    assert len(found) < len(payloads)
    assert found == payloads[: len(found)]


def test_zeros_that_a_power_cut_left_are_no_frames(tmp_path):
    (path,) = written(tmp_path, [b"one"])
    with path.open("ab") as file:
        file.write(bytes(4096))
    assert payloads_of(path) == [b"one"]


def test_a_length_beyond_the_file_asks_for_no_memory(tmp_path):
    path = tmp_path / "evil.wal"
    path.write_bytes(b"\xff\xff\xff\x0f" + bytes(12))
    assert payloads_of(path) == []


def test_a_new_file_begins_when_one_is_long(tmp_path):
    payloads = [bytes([number]) * 100 for number in range(1, 11)]
    paths = written(tmp_path, payloads, rotate_bytes=250)
    assert len(paths) == 4
    assert payloads_of(*paths) == payloads


def test_a_file_is_held_until_its_writer_closes_it_or_is_killed(tmp_path):
    wal = Wal(tmp_path, rotate_bytes=10)
    wal.append(b"first file, full")
    wal.append(b"second file")
    first, second = sorted(tmp_path.glob("*.wal"))
    assert not writer_is_gone(second)
    wal.sync()
    assert writer_is_gone(first)
    wal.close()
    assert writer_is_gone(second)

    code = f"""
from pathlib import Path
from undrift.serving.wal import Wal
wal = Wal(Path({str(tmp_path / "child")!r}))
assert wal.append(b"from the child")
print("appended", flush=True)
input()
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"appended\n"
    (path,) = (tmp_path / "child").glob("*.wal")
    assert not writer_is_gone(path)
    child.kill()
    child.communicate()
    assert writer_is_gone(path)
    assert payloads_of(path) == [b"from the child"]


class Faults:
    """The operating system, whose nth call of some kind fails."""

    def __init__(self, call, nth, failure):
        self._call, self._nth, self._failure = call, nth, failure

    def __getattr__(self, name):
        real = getattr(os, name)
        if name != self._call:
            return real

        def faulty(*given, **named):
            self._nth -= 1
            if self._nth != 0:
                return real(*given, **named)
            if self._failure == "half":
                return real(given[0], given[1][: len(given[1]) // 2])
            raise OSError(self._failure, os.strerror(self._failure))

        return faulty


@pytest.mark.parametrize("nth", range(1, 9))
@pytest.mark.parametrize(
    ("call", "failure"),
    [
        ("write", errno.ENOSPC),
        ("write", errno.EIO),
        ("write", "half"),
        ("open", errno.EMFILE),
        ("fsync", errno.EIO),
        ("ftruncate", errno.EIO),
    ],
)
def test_whatever_fails_once_costs_at_most_that_append(tmp_path, monkeypatch, call, failure, nth):
    monkeypatch.setattr(module, "os", Faults(call, nth, failure))
    wal = Wal(tmp_path, rotate_bytes=150)
    payloads = [bytes([number]) * 50 for number in range(1, 9)]
    kept = []
    for payload in payloads:
        if wal.append(payload):
            kept.append(payload)
        wal.sync()
    wal.close()
    assert len(kept) >= len(payloads) - 1
    assert payloads_of(*sorted(tmp_path.glob("*.wal"))) == kept


@pytest.mark.parametrize("nth", range(1, 6))
def test_a_half_written_frame_that_cannot_be_taken_back_ends_its_file(tmp_path, monkeypatch, nth):
    class Both(Faults):
        def __getattr__(self, name):
            if name == "ftruncate":

                def refuse(*_):
                    raise OSError(errno.EIO, "broken")

                return refuse
            return super().__getattr__(name)

    monkeypatch.setattr(module, "os", Both("write", nth, "half"))
    wal = Wal(tmp_path)
    payloads = [bytes([number]) * 50 for number in range(1, 7)]
    kept = [payload for payload in payloads if wal.append(payload)]
    wal.close()
    assert len(kept) == len(payloads) - 1
    assert payloads_of(*sorted(tmp_path.glob("*.wal"))) == kept


def test_a_full_disk_refuses_and_then_takes_again(tmp_path):
    # The kernel's own refusal: a limit on the size of files, in a process of its own.
    code = f"""
import resource, signal
from pathlib import Path
from undrift.serving.wal import Wal
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
wal = Wal(Path({str(tmp_path)!r}))
taken = [wal.append(bytes([number]) * 400) for number in range(1, 4)]
said = wal.error
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
taken += [wal.append(bytes([number]) * 400) for number in range(4, 6)]
wal.close()
print(taken, bool(said), wal.error == "")
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[True, True, False, True, True] True True"
    assert [payload[0] for payload in payloads_of(*sorted(tmp_path.glob("*.wal")))] == [1, 2, 4, 5]


def test_frames_appended_together_are_kept_together_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "os", Faults("write", 2, "half"))
    wal = Wal(tmp_path)
    assert wal.append(b"one", b"two")
    assert not wal.append(b"three" * 10, b"four" * 10)
    assert wal.append(b"five", b"six")
    wal.close()
    assert payloads_of(*tmp_path.glob("*.wal")) == [b"one", b"two", b"five", b"six"]


def test_reading_beside_a_writer_gives_whole_frames_only(tmp_path):
    wal = Wal(tmp_path)
    wal.append(b"first")
    (path,) = tmp_path.glob("*.wal")
    count = 3_000

    def write():
        for number in range(count):
            wal.append(number.to_bytes(4, "little") * (number % 50 + 1))

    thread = threading.Thread(target=write)
    thread.start()
    offset, seen = 0, []
    while len(seen) < count + 1:
        for payload, next_offset in read_frames(path, offset):
            seen.append(payload)
            offset = next_offset
    thread.join()
    wal.close()
    assert seen[1:] == [number.to_bytes(4, "little") * (number % 50 + 1) for number in range(count)]
