"""What a bucket adds to the contract: a service that fails, stalls, refuses and lies."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from undrift.blobs import Repository, open_store
from undrift.core.errors import Corrupt, Unavailable
from undrift.core.hashing import hash_bytes

DATA = bytes(range(256)) * 1000
REFUSAL = b"<Error><Code>AccessDenied</Code><AWSAccessKeyId>AKIDTEST</AWSAccessKeyId></Error>"


class Service(BaseHTTPRequestHandler):
    """Answers each request by the next of the server's answers, and by the last of them from then on."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.asked.append(self.command)
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer == "stall":
            self.server.stopped.wait(20)
            self.close_connection = True
        elif answer in ("cut", "whole"):
            self.give(DATA, len(DATA) // 2 if answer == "cut" else None)
        elif isinstance(answer, bytes):
            self.give(answer, None)
        else:
            self.head(answer, len(REFUSAL))
            if self.command != "HEAD":
                self.wfile.write(REFUSAL)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer  # noqa: N815

    def head(self, status, length, **headers):
        self.send_response(status)
        for name, value in {"content-length": str(length), "etag": '"1"', **headers}.items():
            self.send_header(name, value)
        self.send_header("last-modified", "Tue, 01 Jan 2013 00:00:00 GMT")
        self.end_headers()

    def give(self, data, cut_after):
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range") or "")
        start, end = (int(span[1]), int(span[2]) + 1) if span else (0, len(data))
        if span:
            self.head(206, end - start, **{"content-range": f"bytes {start}-{end - 1}/{len(data)}"})
        else:
            self.head(200, end - start)
        self.wfile.write(data[start:end][:cut_after])
        self.close_connection = cut_after is not None


@pytest.fixture
def service(monkeypatch):
    import undrift.blobs.stores.s3 as module

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-secret")
    monkeypatch.setitem(module._CLIENT, "read_timeout", timedelta(seconds=0.1))
    monkeypatch.setitem(module._RETRY, "max_retries", 2)
    monkeypatch.setitem(module._RETRY, "backoff", {"init_backoff": timedelta(milliseconds=1), "base": 2})
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    server.asked, server.stopped = [], threading.Event()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    server.store = open_store(f"s3://bucket/deep?endpoint=http://127.0.0.1:{server.server_port}&region=us-east-1")
    yield server
    server.stopped.set()
    server.shutdown()
    server.server_close()


CALLS = {
    "read": lambda store: store.read("a/b"),
    "write": lambda store: store.write("a/b", b"1"),
    "write pieces": lambda store: store.write("a/b", iter([b"1"])),
    "size": lambda store: store.size("a/b"),
    "list": lambda store: list(store.list("a/b")),
    "delete": lambda store: store.delete("a/b"),
    "create": lambda store: store.swap("a/b", None, b"1"),
    "replace": lambda store: store.swap("a/b", b"0", b"1"),
}


@pytest.mark.parametrize("answer", [500, 503, 403, 401, 400, "stall"])
@pytest.mark.parametrize("call", CALLS)
def test_a_failure_names_the_place_and_the_key_and_no_secret(service, call, answer):
    service.answers = [answer]
    with pytest.raises(Unavailable) as refused:
        CALLS[call](service.store)
    text = str(refused.value)
    assert "'a/b' in s3://bucket/deep" in text
    assert "AccessDenied" in text or f"HTTP status {answer}" in text or "does not answer" in text
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
    assert not re.search("AKIDTEST|hidden-secret", text)


@pytest.mark.parametrize("call", ["read", "write", "size", "list", "delete"])
def test_a_failure_that_passes_is_not_noticed(service, call):
    service.answers = [503, 500, b"<ListBucketResult/>" if call == "list" else b"1"]
    CALLS[call](service.store)
    assert len(service.asked) == 3


@pytest.mark.parametrize("answer", [500, 503, "stall"])
def test_a_swap_is_asked_once(service, answer):
    service.answers = [answer, b""]
    with pytest.raises(Unavailable):
        service.store.swap("a", None, b"1")
    assert service.asked == ["PUT"]


@pytest.mark.parametrize("answer", [409, 412, 404])
def test_a_swap_that_comes_too_late_says_no(service, answer):
    service.answers = [b"0", answer]
    assert service.store.swap("a", b"0", b"1") is False


def test_a_body_that_is_cut_is_resumed(service):
    service.answers = ["cut", "whole"]
    assert b"".join(service.store.read("a")) == DATA
    assert service.asked == ["GET", "GET"]


def test_a_body_that_is_always_cut_is_no_object(service, tmp_path):
    service.answers = ["cut", 500]
    with pytest.raises(Unavailable, match="s3://bucket/deep"):
        Repository(service.store).objects.fetch(hash_bytes(DATA), tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_wrong_bytes_are_refused(service, tmp_path):
    service.answers = [DATA[:-1] + b"!"]
    objects = Repository(service.store).objects
    with pytest.raises(Corrupt, match=hash_bytes(DATA)):
        objects.get(hash_bytes(DATA))
    with pytest.raises(Corrupt, match=hash_bytes(DATA)):
        objects.fetch(hash_bytes(DATA), tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_that_is_not_there_is_named(s3_endpoint):
    store = open_store(f"s3://no-such-bucket?endpoint={s3_endpoint}&region=us-east-1")
    for call in ("read", "write", "write pieces", "create", "replace", "list"):
        with pytest.raises(Unavailable, match=r"s3://no-such-bucket: NoSuchBucket\. Check that the bucket exists"):
            CALLS[call](store)


def test_a_large_file_is_uploaded_in_parts(s3_url, tmp_path):
    data = bytes(range(256)) * (40 << 12)
    (tmp_path / "large").write_bytes(data)
    objects = Repository(open_store(s3_url)).objects
    digest = objects.put(tmp_path / "large")
    assert objects.size(digest) == len(data) == 40 << 20
    objects.fetch(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


def test_a_large_source_may_ask_the_same_store_and_may_fail(s3_url):
    store = open_store(s3_url)
    store.write("piece", DATA)
    thread = threading.get_ident()

    def pieces(number, then):
        for _ in range(number):
            assert threading.get_ident() == thread
            yield b"".join(store.read("piece"))
        if then:
            raise ZeroDivisionError("the source fails")

    store.write("large", pieces(160, False))
    assert store.size("large") == 160 * len(DATA) > 32 << 20
    with pytest.raises(ZeroDivisionError, match="the source fails"):
        store.write("failed", pieces(160, True))
    assert store.size("failed") is None


def test_a_service_that_fails_in_the_middle_does_not_make_a_source_read_to_its_end(service):
    service.answers = [403]
    read = []

    def pieces():
        for n in range(10_000):
            read.append(n)
            yield bytes(1 << 20)

    with pytest.raises(Unavailable, match="S3 failed"):
        service.store.write("large", pieces())
    assert len(read) < 200
