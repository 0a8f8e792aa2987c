"""The environment of a run as a lock: the interpreter and every distribution, with the hash of what was installed."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
import sysconfig
from importlib import metadata
from typing import Any

import msgspec

from undrift.recorder.masking import without_credentials

__all__ = ["lock_environment"]


def lock_environment() -> bytes:
    """Return the lock as JSON: the same environment gives the same bytes, on every machine, in every order.

    Attributes of each distribution: its version; ``record``, the SHA-256 of its RECORD file, which itself has the hash
    of each of its files; ``origin``, where it came from when that was not an index.
    """
    distributions: dict[tuple[str, str], dict[str, Any]] = {}
    for found in metadata.distributions():
        described = _describe(found)
        if described is not None:
            # Of two on the path, the first is the one that is imported.
            distributions.setdefault((described["name"], ""), described)
    lock = {
        "format": 1,
        "interpreter": {
            "implementation": sys.implementation.name,
            "version": platform.python_version(),
            "abi": sysconfig.get_config_var("SOABI") or "",
            "platform": sysconfig.get_platform(),
            "libc": " ".join(platform.libc_ver()).strip(),
            "compiler": platform.python_compiler(),
            "conda": os.path.isdir(os.path.join(sys.prefix, "conda-meta")),  # noqa: PTH112, PTH118 - never raises
        },
        "distributions": [distributions[name] for name in sorted(distributions)],
    }
    return msgspec.json.format(msgspec.json.encode(lock, order="sorted"), indent=1) + b"\n"


def _describe(found: metadata.Distribution) -> dict[str, Any] | None:
    try:
        name, version = found.metadata["Name"], found.version
    except Exception:  # noqa: BLE001 - a broken distribution raises what it wants
        return None
    if not name:
        return None
    described: dict[str, Any] = {"name": re.sub(r"[-_.]+", "-", name).lower(), "version": version or ""}
    record = _text(found, "RECORD")
    if record is not None:
        described["record"] = hashlib.sha256(_lasting(record).encode()).hexdigest()
    if (origin := _origin(_text(found, "direct_url.json"))) is not None:
        described["origin"] = origin
    return described


def _lasting(record: str) -> str:
    """Return the lines of a RECORD that say what was installed: compiled files and notes of the installer differ."""
    lines = [
        line
        for line in record.splitlines()
        if not re.search(r"\.pyc,|/(RECORD|INSTALLER|REQUESTED|direct_url\.json|uv_cache\.json),|^\.\./", line)
    ]
    return "\n".join(sorted(lines))


def _text(found: metadata.Distribution, name: str) -> str | None:
    try:
        return found.read_text(name)
    except (OSError, ValueError):
        return None


def _origin(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        said = msgspec.json.decode(text)
        url = str(said["url"])
        origin: dict[str, Any] = {}
        if url.startswith("file:"):
            # Where it lies on this machine says nothing elsewhere.
            origin["url"] = "file:" + url.rstrip("/").rpartition("/")[2]
        else:
            origin["url"] = without_credentials(url)
        if "vcs_info" in said:
            origin["vcs"] = str(said["vcs_info"].get("vcs", ""))
            origin["commit"] = str(said["vcs_info"].get("commit_id", ""))
        if said.get("dir_info", {}).get("editable"):
            origin["editable"] = True
        if hashes := said.get("archive_info", {}).get("hashes"):
            origin["hashes"] = {str(kind): str(value) for kind, value in sorted(hashes.items())}
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return None
    return origin
