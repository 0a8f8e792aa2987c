"""The one rule for paths: a path is its own only spelling."""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift.core.errors import Invalid
from undrift.tracking.artifacts import check_artifact_path

GOOD = [
    "a",
    "a/b/c.txt",
    "plots/Größe 100%.png",
    "100%",
    "a%b",
    "日本語/ファイル.txt",
    ".hidden",
    "...",
    "a..b/..c/d..",
    "a b/c;d=e&f",
    "C/x",
    "a%20b",
    "MLmodel",
    "a" * 255,
    "/".join(["b" * 99] * 10),
    "~",
    "-rf",
    "file:x",
]
BAD = [
    "x:y",
    "",
    "/",
    "/a",
    "//a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/..",
    "a/../b",
    "./a",
    "a/./b",
    "a/..\\b",
    "..\\a",
    "a\\b",
    "C:",
    "C:/a",
    "c:\\a",
    "a/C:/b",
    "file:///etc/passwd#/x",
    "a#b",
    "#/../../etc",
    "a?b",
    "a?/../..",
    "a\x00b",
    "a\nb",
    "a\tb",
    "a\x7f",
    "a\x85",
    "a\ud800",
    "%2e%2e/a",
    "a/%2e%2e",
    "%2E%2E",
    "a%2f..",
    "a%2fb",
    "a%2Fb",
    "a%5cb",
    "%252e%252e/a",
    "%252e%252e%252fa",
    "%25252e%25252e/a",
    "a%2523b",
    "%2f",
    "%00",
    "a%0ab",
    "a%23b",
    "a%3fb",
    "C%3a",
    "%c0%ae%c0%ae/a",
    "a%ff",
    "e\u0301",
    "a" * 256,
    "ä" * 128,
    "/".join(["b" * 200] * 6),
    "/".join(["日" * 80] * 9),
    "a/" * 100 + "a",
    "%2525252525252541",
]


@pytest.mark.parametrize("path", GOOD, ids=ascii)
def test_a_plain_path_is_taken_as_it_is(path):
    assert check_artifact_path(path) == path


@pytest.mark.parametrize("path", BAD, ids=ascii)
def test_what_leads_elsewhere_or_has_other_spellings_is_refused_with_a_sentence(path):
    with pytest.raises(Invalid, match="Invalid path") as caught:
        check_artifact_path(path)
    assert caught.value.next_step
    assert "\n" not in caught.value.message


@given(st.text(alphabet="ab./\\%25fFeE#?:\x00 ä", max_size=30))
def test_what_is_taken_stays_safe_however_often_it_is_decoded(path):
    try:
        check_artifact_path(path)
    except Invalid:
        return
    for _ in range(6):
        parts = path.split("/")
        assert not {"", ".", ".."} & set(parts)
        assert not set("\\#?\x00") & set(path)
        decoded = unquote(path)
        assert decoded.count("/") == path.count("/")
        path = decoded


@given(st.text(alphabet="ab./%2e ä", max_size=20))
def test_what_is_encoded_once_for_an_address_comes_back(path):
    assert unquote(quote(path, safe="")) == path
