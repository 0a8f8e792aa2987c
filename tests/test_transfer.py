"""Files to and from runs: the same embedded and over HTTP, without sending what is there, going on after a break."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from undrift import connect, tracking, transfer
from undrift.core.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from undrift.core.hashing import hash_bytes
from undrift.tracking.artifacts import ArtifactEntry, ArtifactPage, ListArtifacts, list_artifacts
from undrift.workspace import Workspace

HUB = (
    "import sys; from undrift.hub import run;"
    "run(sys.argv[1], port=int(sys.argv[2]), on_ready=lambda url: print(url, flush=True))"
)


class Hub:
    """A hub in a process of its own, that can be killed and started again at the same port."""

    def __init__(self, folder):
        self.folder = folder
        Workspace.open(folder, create=True).close()
        self.port = 0
        self.start()

    def start(self):
        command = [sys.executable, "-c", HUB, str(self.folder), str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        self.port = int(self.url.rpartition(":")[2])

    def kill(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    hub = Hub(tmp_path_factory.mktemp("hub") / "workspace")
    yield hub
    hub.kill()


@pytest.fixture
def hub(tmp_path):
    hub = Hub(tmp_path / "hub")
    yield hub
    hub.kill()


@pytest.fixture(params=["embedded", "over HTTP"])
def client(request, tmp_path):
    if request.param == "over HTTP":
        target = request.getfixturevalue("shared").url
    else:
        target = tmp_path / "workspace"
        Workspace.open(target, create=True).close()
    with connect(target) as made:
        yield made


def begin(client):
    return client.call(tracking.start_run, tracking.StartRun("default", "late", "first")).id


@pytest.fixture
def run(client):
    return begin(client)


def write(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FILES = {
    "a.txt": b"one",
    "empty": b"",
    "deep/Größe 100% 1.bin": os.urandom(50_000),
    "deep/er/large": os.urandom((2 << 20) + 11),
    "same": b"one",
}


def test_a_folder_comes_back_as_it_went(client, run, tmp_path):
    source = write(tmp_path / "source", FILES)
    sent = transfer.upload_folder(client, run, source, "data")
    assert (sent.files, sent.size_bytes) == (5, sum(map(len, FILES.values())))
    got = transfer.download(client, run, "data", tmp_path / "copy")
    assert content(tmp_path / "copy") == FILES
    assert (got.files, got.sent_files) == (5, 5)
    transfer.download(client, run, "", tmp_path / "all")
    assert content(tmp_path / "all") == {f"data/{name}": data for name, data in FILES.items()}
    transfer.download(client, run, "data/deep/er/large", tmp_path / "one")
    assert content(tmp_path / "one") == {"large": FILES["deep/er/large"]}


def test_what_is_there_does_not_travel(client, run, tmp_path):
    mine = {f"f/{n}": os.urandom(2000) for n in range(60)} | {"large": os.urandom(2 << 20)}
    source = write(tmp_path / "source", mine)
    assert transfer.upload_folder(client, run, source).sent_files == 61
    again = transfer.upload_folder(client, run, source, "again")
    assert (again.files, again.sent_files, again.sent_bytes) == (61, 0, 0)
    transfer.download(client, run, "again", tmp_path / "copy")
    (tmp_path / "copy" / "f" / "3").write_bytes(b"changed")
    (tmp_path / "copy" / "f" / "4").unlink()
    (tmp_path / "copy" / "mine").write_bytes(b"mine")
    got = transfer.download(client, run, "again", tmp_path / "copy")
    assert (got.files, got.sent_files) == (61, 2)
    assert content(tmp_path / "copy") == mine | {"mine": b"mine"}


def test_a_file_goes_under_its_own_name_or_another(client, run, tmp_path):
    write(tmp_path, {"plot.png": b"1"})
    transfer.upload_file(client, run, tmp_path / "plot.png")
    transfer.upload_file(client, run, tmp_path / "plot.png", "plots/last.png")
    page = client.call(list_artifacts, ListArtifacts(run, recursive=True))
    assert [one.path for one in page.entries] == ["plot.png", "plots/last.png"]


def test_many_files_and_pages(client, run, tmp_path):
    mine = {f"{n % 7}/{n:04d}": b"%d" % n for n in range(1300)}
    transfer.upload_folder(client, run, write(tmp_path / "source", mine))
    transfer.download(client, run, "", tmp_path / "copy")
    assert content(tmp_path / "copy") == mine


@pytest.mark.parametrize("size", [0, 1, 299, 300, 301, 1000])
def test_large_files_travel_in_parts(client, run, tmp_path, monkeypatch, size):
    monkeypatch.setattr(transfer, "PACKED_BYTES", 0)
    monkeypatch.setattr(transfer, "_PARTS_FROM", 300)
    data = os.urandom(size)
    transfer.upload_folder(client, run, write(tmp_path / "source", {"large": data}))
    transfer.download(client, run, "", tmp_path / "copy")
    assert content(tmp_path / "copy") == {"large": data}


def test_what_is_not_there_is_said(client, run, tmp_path):
    for call in (
        lambda: transfer.upload_file(client, run, tmp_path / "nothing"),
        lambda: transfer.upload_folder(client, run, tmp_path / "nothing"),
        lambda: transfer.download(client, run, "nothing", tmp_path / "copy"),
        lambda: transfer.download(client, "0" * 32, "", tmp_path / "copy"),
        lambda: transfer.upload_folder(client, "0" * 32, write(tmp_path / "source", {"a": b"1"})),
    ):
        with pytest.raises(NotFound):
            call()
    assert transfer.download(client, run, "", tmp_path / "copy").files == 0


def test_names_and_links_that_cannot_be_sent_are_named(client, run, tmp_path):
    for name in ("a#b", "a%2fb", "a\\b", "a\nb", "C:"):
        source = write(tmp_path / "bad", {name: b"1"})
        with pytest.raises(Invalid, match="Invalid path"):
            transfer.upload_folder(client, run, source)
        (source / name).unlink()
    (tmp_path / "bad" / "link").symlink_to("/etc/passwd")
    with pytest.raises(Invalid, match="is not a file"):
        transfer.upload_folder(client, run, tmp_path / "bad")
    with pytest.raises(Invalid, match="Invalid path"):
        transfer.upload_folder(client, run, tmp_path, "../x")
    assert client.call(list_artifacts, ListArtifacts(run)).entries == ()


def test_a_file_that_changes_while_it_is_sent_is_not_stored(client, run, tmp_path, monkeypatch):
    source = write(tmp_path / "source", {"small": b"1", "large": b"x" * (2 << 20)})
    hashed = transfer._hashed

    def changed(path, file):
        found = hashed(path, file)
        with file.open("r+b") as opened:
            opened.write(b"y")
        return found

    monkeypatch.setattr(transfer, "_hashed", changed)
    with pytest.raises(Invalid):
        transfer.upload_folder(client, run, source)
    assert client.call(list_artifacts, ListArtifacts(run)).entries == ()


def test_a_download_that_was_cut_goes_on_where_it_was(client, run, tmp_path):
    data = os.urandom(3 << 20)
    transfer.upload_folder(client, run, write(tmp_path / "source", {"large": data}))
    part = tmp_path / "copy" / f".{hash_bytes(data)[:32]}.{hash_bytes(b'large')[:8]}.part"
    write(tmp_path / "copy", {part.name: data[: 1 << 20]})
    transfer.download(client, run, "", tmp_path / "copy")
    assert content(tmp_path / "copy") == {"large": data}
    # What a break left may be damaged: it is thrown away, and the next try is whole.
    write(tmp_path / "other", {part.name: b"x" * 1000})
    with pytest.raises(Corrupt, match="not what was stored"):
        transfer.download(client, run, "", tmp_path / "other")
    transfer.download(client, run, "", tmp_path / "other")
    assert content(tmp_path / "other") == {"large": data}


def test_large_files_that_are_equal_come_into_one_folder(client, run, tmp_path, monkeypatch):
    source = write(tmp_path / "source", dict.fromkeys(("best", "last", "step-1"), os.urandom(2 << 20)))
    transfer.upload_folder(client, run, source)
    for way in (transfer._Here, transfer._Remote):

        def slowly(self, root, entry, start, get=way.get_large):
            time.sleep(0.3)
            yield from get(self, root, entry, start)

        monkeypatch.setattr(way, "get_large", slowly)
    transfer.download(client, run, "", tmp_path / "copy")
    assert content(tmp_path / "copy") == content(source)


def test_a_link_in_the_folder_leads_nowhere(client, run, tmp_path):
    transfer.upload_folder(client, run, write(tmp_path / "source", {"sub/a": b"new", "b": b"new"}))
    (tmp_path / "outside").mkdir()
    write(tmp_path / "outside", {"a": b"old", "b": b"old"})
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(Conflict, match="leads out of"):
        transfer.download(client, run, "", tmp_path / "copy")
    (tmp_path / "copy" / "sub").unlink()
    (tmp_path / "copy" / "b").symlink_to(tmp_path / "outside" / "b")
    transfer.download(client, run, "", tmp_path / "copy")
    assert content(tmp_path / "outside") == {"a": b"old", "b": b"old"}
    assert content(tmp_path / "copy") == {"sub/a": b"new", "b": b"new"}


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..", "a\\..\\evil", "%2e%2e/evil"])
def test_a_name_from_the_wire_does_not_leave_the_folder(tmp_path, name):
    Workspace.open(tmp_path / "workspace", create=True).close()
    with connect(tmp_path / "workspace") as client:

        class Lying:
            _transport = client._transport

            def call(self, operation, request, *, idempotency_key=None):
                return ArtifactPage((ArtifactEntry(name, "file", 1, hash_bytes(b"1")),))

        with pytest.raises(Invalid, match="Invalid path"):
            transfer.download(Lying(), "0" * 32, "", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_an_answer_about_other_paths_is_not_believed(tmp_path):
    Workspace.open(tmp_path / "workspace", create=True).close()
    with connect(tmp_path / "workspace") as client:

        class Lying:
            _transport = client._transport

            def call(self, operation, request, *, idempotency_key=None):
                return ArtifactPage((ArtifactEntry("other/file", "file", 1, hash_bytes(b"1")),))

        with pytest.raises(Corrupt, match="not below"):
            transfer.download(Lying(), "0" * 32, "wanted", tmp_path / "copy")


def test_an_answer_about_other_files_is_not_believed(client, run, tmp_path, monkeypatch):
    source = write(tmp_path / "source", {"a": b"1"})
    transfer.upload_folder(client, run, source)
    for way in (transfer._Here, transfer._Remote):
        monkeypatch.setattr(way, "get_small", lambda self, root, entries: iter([(hash_bytes(b"1"), b"1")] * 3))
        monkeypatch.setattr(way, "missing", lambda self, digests: ["0" * 64])
    with pytest.raises(Corrupt, match="more files"):
        transfer.download(client, run, "", tmp_path / "copy")
    with pytest.raises(NotFound):
        transfer.upload_folder(client, run, write(tmp_path / "other", {"b": os.urandom(100)}))


def test_a_hub_that_is_away_is_waited_for_and_then_given_up(hub, tmp_path):
    with connect(hub.url) as client:
        run = begin(client)
        hub.kill()
        source = write(tmp_path / "source", {f"{n}": os.urandom(100) for n in range(50)})
        with pytest.raises(Unavailable):
            transfer.upload_folder(client, run, source, patience_s=0.3)
        again = threading.Timer(0.5, hub.start)
        again.start()
        assert transfer.upload_folder(client, run, source, patience_s=30).files == 50
        again.join()


def test_after_a_kill_an_upload_goes_on_with_the_parts_that_had_arrived(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "_PARTS_FROM", 1 << 20)
    source = tmp_path / "large"
    with source.open("wb") as file:
        for _ in range(160):
            file.write(os.urandom(1 << 20))
    sent = []
    ask = transfer._Remote._ask

    def counted(self, method, path, **given):
        answer = ask(self, method, path, **given)
        if method == "PUT":
            sent.append(path)
            if len(sent) == 2:
                hub.kill()
        return answer

    monkeypatch.setattr(transfer._Remote, "_ask", counted)
    with connect(hub.url) as client:
        run = begin(client)
        with pytest.raises(Unavailable):
            transfer.upload_file(client, run, source, "large", patience_s=0.5)
        hub.start()
        assert client.call(list_artifacts, ListArtifacts(run)).entries == ()
        before = len(sent)
        transfer.upload_file(client, run, source, "large")
        assert before >= 2
        assert len(sent) - before <= 5 - before + 1  # 160 MiB are five parts
        transfer.download(client, run, "large", tmp_path / "copy")
    assert (tmp_path / "copy" / "large").stat().st_size == 160 << 20
    assert transfer.hash_file(tmp_path / "copy" / "large") == transfer.hash_file(source)


def test_a_part_that_a_crash_of_the_host_has_damaged_is_sent_again(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "_PARTS_FROM", 1 << 20)
    source = tmp_path / "large"
    source.write_bytes(os.urandom(40 << 20))
    ask = transfer._Remote._ask

    def damaged(self, method, path, **given):
        if path.endswith("/complete"):
            monkeypatch.setattr(transfer._Remote, "_ask", ask)
            for part in sorted((hub.folder / "store" / "uploads").glob("*/0000*"))[:1]:
                part.write_bytes(bytes(part.stat().st_size))
        return ask(self, method, path, **given)

    monkeypatch.setattr(transfer._Remote, "_ask", damaged)
    with connect(hub.url) as client:
        run = begin(client)
        transfer.upload_file(client, run, source, "large")
        transfer.download(client, run, "large", tmp_path / "copy")
    assert (tmp_path / "copy" / "large").read_bytes() == source.read_bytes()


def test_what_is_acknowledged_survives_a_kill(hub, tmp_path):
    with connect(hub.url) as client:
        run = begin(client)
        for n in range(5):
            source = write(tmp_path / f"{n}", {f"{k}": os.urandom(1000) for k in range(100)})
            transfer.upload_folder(client, run, source, f"{n}")
        hub.kill()
        hub.start()
        for n in range(5):
            transfer.download(client, run, f"{n}", tmp_path / f"copy{n}")
            assert content(tmp_path / f"copy{n}") == content(tmp_path / f"{n}")


def test_only_a_client_of_undrift_can_carry_files(tmp_path):
    with pytest.raises(Invalid, match="client of undrift"):
        transfer.upload_file(object(), "0" * 32, write(tmp_path, {"a": b"1"}) / "a")
