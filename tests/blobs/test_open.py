from __future__ import annotations

import sys

import pytest

from undrift.blobs import open_store
from undrift.core.errors import Invalid, Unavailable


def test_a_path_or_a_file_address_opens_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a b#c"
    for address in (str(folder), "a b#c", "./a b#c", f"file://{tmp_path}/a%20b%23c"):
        assert repr(open_store(address)) == f"LocalStore('{folder}')"


def test_memory_is_new_each_time():
    open_store("memory://").write("a", b"1")
    assert list(open_store("memory://").list()) == []


@pytest.mark.parametrize("query", ["", "?region=eu-west-1", "?endpoint=http://127.0.0.1:9000&region=x"])
@pytest.mark.parametrize("path", ["", "/", "/deep/folder", "/deep/folder/"])
def test_a_bucket_opens_with_a_prefix_and_options(monkeypatch, path, query):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-secret")
    assert repr(open_store(f"s3://bucket{path}{query}")) == f"S3Store('s3://bucket{path.rstrip('/')}')"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "http://host/a",
        "gs://bucket",
        "S3://bucket",
        "s3:bucket",
        "s3:///bucket",
        "s3://",
        "s3://..",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "s3://bucket/%2e%2e",
        "s3://bucket#fragment",
        "s3://bucket?versioned=1",
        "s3://bucket?secret_access_key=hidden",
        "s3://bucket?endpoint=",
        "s3://bucket?endpoint=127.0.0.1:9000",
        "s3://bucket?endpoint=file:///etc",
        "s3://AKID:hidden@bucket",
        "file://host/path",
        "file:path",
        "file:///path?x=hidden",
        "file:///path#x",
        "memory:",
        "memory:///x",
        "C:\\folder",
        "C:/folder",
        "unknown+x://hidden@host",
    ],
)
def test_an_unknown_address_is_refused_and_shows_no_secret(address):
    with pytest.raises(Invalid) as refused:
        open_store(address)
    assert "hidden" not in str(refused.value)
    assert refused.value.next_step


def test_without_its_package_s3_names_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "undrift.blobs.stores.s3", raising=False)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(Unavailable, match=r"pip install 'undrift\[s3\]'"):
        open_store("s3://bucket")
