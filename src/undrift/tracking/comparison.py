"""How runs differ: in what was asked for, what came out, the data they read, their code and their environment.

Pure rules: what differs is shown, what is alike is counted. The first run is what the others are compared with.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

__all__ = ["Comparison", "Difference", "differences", "distributions", "text_difference"]


class Difference(msgspec.Struct, frozen=True):
    """One thing in which runs differ, or may.

    Attributes:
        name: What it is.
        values: What it is in each run, in the order of the runs; none where a run has no such thing.
        same: Whether it is the same in all of them.
    """

    name: str
    values: tuple[Any, ...]
    same: bool


class Comparison(msgspec.Struct, frozen=True):
    """Runs side by side.

    Attributes:
        run_ids: The runs, in the order asked for.
        names: Their names.
        facts: Status, start, seconds, who, experiment.
        parameters: Their parameters.
        metrics: The newest values of their metrics; words stand for what JSON has no number for.
        tags: Their tags.
        inputs: What they read, by kind and name: versions of datasets, digests.
        code: Files of their code by path: digests, where they differ.
        environment: Interpreter and distributions: versions, where they differ.
        alike: How many of each section are the same in all runs and left out.
        gaps: What could not be compared, and why, in sentences.
    """

    run_ids: tuple[str, ...]
    names: tuple[str, ...]
    facts: tuple[Difference, ...]
    parameters: tuple[Difference, ...]
    metrics: tuple[Difference, ...]
    tags: tuple[Difference, ...]
    inputs: tuple[Difference, ...]
    code: tuple[Difference, ...]
    environment: tuple[Difference, ...]
    alike: dict[str, int]
    gaps: tuple[str, ...]


def differences(columns: Sequence[Mapping[str, Any]]) -> tuple[Difference, ...]:
    """Return each name that any of the columns has, with its value in each; what differs comes first.

    >>> [(one.name, one.values, one.same) for one in differences([{"a": 1, "b": 2}, {"a": 1, "b": 3}])]
    [('b', (2, 3), False), ('a', (1, 1), True)]
    """
    names = sorted({name for column in columns for name in column})
    rows = []
    for name in names:
        values = tuple(column.get(name) for column in columns)
        there = all(name in column for column in columns)
        rows.append(Difference(name, values, there and all(value == values[0] for value in values)))
    return tuple(sorted(rows, key=lambda row: row.same))


def distributions(lock: bytes) -> dict[str, str]:
    """Return what an environment lock says, as names and versions; the interpreter is one of them.

    Raises:
        ValueError: It is not a lock that was written by the recorder.
    """
    said = msgspec.json.decode(lock)
    try:
        found = {f"python ({said['interpreter']['implementation']})": said["interpreter"]["version"]}
        found["platform"] = said["interpreter"].get("platform", "")
        for one in said["distributions"]:
            # Two builds of one version are two things: the hash of what was installed tells them apart.
            record = one.get("record") or ""
            found[one["name"]] = f"{one['version']} ({record[:8]})" if record else one["version"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it lacks {error}") from None
    return found


def text_difference(path: str, before: bytes | None, after: bytes | None) -> str:
    """Return what changed in a file as a unified diff; a sentence for what is no text."""
    try:
        old, new = (_lines((text or b"").decode()) for text in (before, after))
    except UnicodeDecodeError:
        return f"{path} is not text: {len(before or b'')} bytes became {len(after or b'')}."
    return "".join(_ended(difflib.unified_diff(old, new, f"a/{path}", f"b/{path}")))


def _lines(text: str) -> list[str]:
    # Not `splitlines`: a form feed inside a line of code is no end of it.
    lines = [f"{line}\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _ended(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        yield line if line.endswith("\n") else line + "\n\\ No newline at end of file\n"
