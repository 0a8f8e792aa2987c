"""Runs side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Invalid, NotFound, TooLarge, UndriftError
from undrift.core.operation import operation
from undrift.tracking import records
from undrift.tracking.comparison import Comparison, Difference, differences, distributions, text_difference
from undrift.tracking.model import Run, not_finite
from undrift.tracking.operations.words import find_id

__all__ = ["CompareCode", "CompareRuns", "compare_code", "compare_runs"]

_MOST_RUNS = 100
_MOST_BYTES = 1 << 20
_MOST_LOCK_BYTES = 16 << 20


class CompareRuns(msgspec.Struct, frozen=True):
    """Which runs (2 to 100; the first is what the others are compared with), and whether to show what is alike, too.

    Attributes:
        limit: At most so many rows a section, 1 to 10,000; what differs comes first.
    """

    run_ids: tuple[str, ...]
    alike: bool = False
    limit: int = 200


class CompareCode(msgspec.Struct, frozen=True):
    """Which file of the code of which two runs."""

    before: str
    after: str
    path: str


@operation("tracking.compare_runs", permission="tracking:read")
def compare_runs(ctx: Context, request: CompareRuns) -> Comparison:
    """Compare runs by parameters, metrics, tags, data, code and environment.

    Raises:
        NotFound: One of them is not there.
        Invalid: Fewer than two, or one twice.
        TooLarge: More than 100.
    """
    if len(set(request.run_ids)) != len(request.run_ids) or len(request.run_ids) < 2:
        raise Invalid("Compare at least two runs, each of them once.", next_step="Name their ids.")
    if len(request.run_ids) > _MOST_RUNS:
        raise TooLarge(f"{len(request.run_ids)} runs.", next_step=f"Compare at most {_MOST_RUNS}.")
    with ctx.read() as tx:
        runs = records.find_runs(tx, [find_id(run_id) for run_id in request.run_ids], with_latest=True)
    missing = sorted(set(request.run_ids) - {run.id for run in runs})
    if missing:
        raise NotFound(f"Run with id={missing[0]} not found.", next_step="List runs with `undrift runs`.")
    gaps: list[str] = []
    found = {
        "facts": differences([_facts(run) for run in runs]),
        "parameters": differences([run.parameters for run in runs]),
        "metrics": differences([_metrics(run) for run in runs]),
        "tags": differences([run.tags for run in runs]),
        "inputs": differences([_inputs(run) for run in runs]),
        "code": differences(list(_trees(ctx, runs, gaps))),
        "environment": differences(list(_locks(ctx, runs, gaps))),
    }
    alike = {section: sum(row.same for row in rows) for section, rows in found.items()}
    limit = max(1, min(request.limit, 10_000))
    shown: dict[str, tuple[Difference, ...]] = {}
    for section, rows in found.items():
        kept = rows if request.alike else tuple(row for row in rows if not row.same)
        shown[section] = kept[:limit]
        if len(kept) > limit:
            gaps.append(f"{len(kept) - limit} more rows of {section} are left out; ask for more with limit.")
    names = tuple(run.name for run in runs)
    return Comparison(run_ids=request.run_ids, names=names, **shown, alike=alike, gaps=tuple(gaps))


@operation("tracking.compare_code", permission="tracking:read")
def compare_code(ctx: Context, request: CompareCode) -> str:
    """Return what changed in a file of the code between two runs, as a unified diff.

    Raises:
        NotFound: A run is not there, or neither has this file.
        TooLarge: The file is larger than 1 MiB.
    """
    with ctx.read() as tx:
        runs = {run.id: run for run in records.find_runs(tx, [find_id(request.before), find_id(request.after)])}
    texts = []
    for run_id in (request.before, request.after):
        if run_id not in runs:
            raise NotFound(f"Run with id={run_id} not found.", next_step="List runs with `undrift runs`.")
        texts.append(_file(ctx, runs[run_id], request.path))
    if texts == [None, None]:
        raise NotFound(f"The code of neither run has {request.path[:200]!r}.")
    return text_difference(request.path, *texts)


def _facts(run: Run) -> dict[str, Any]:
    return {
        "experiment": run.experiment,
        "status": run.status,
        "kind": run.kind,
        "started": run.started_at,
        "seconds": None if run.ended_at is None else (run.ended_at - run.started_at).total_seconds(),
        "who": run.user or run.actor,
        "error": run.error,
    }


def _metrics(run: Run) -> dict[str, Any]:
    return {one.name: one.value if math.isfinite(one.value) else not_finite(one.value) for one in run.latest}


def _inputs(run: Run) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for link in run.links:
        if link.role == "input" and link.kind not in {"code", "environment"}:
            found.setdefault(f"{link.kind} {link.name}".strip(), []).append(link.ref)
    return {name: ", ".join(sorted(refs)) for name, refs in found.items()}


def _refs(run: Run, kind: str) -> list[str]:
    return [link.ref for link in run.links if link.role == "input" and link.kind == kind]


def _trees(ctx: Context, runs: list[Run], gaps: list[str]) -> Iterable[Mapping[str, str]]:
    walked: dict[str, dict[str, str]] = {}
    for run in runs:
        files: dict[str, str] = {}
        refs = _refs(run, "code")
        if not refs:
            gaps.append(f"No code was kept with run {run.name} ({run.id}).")
        for ref in refs:
            try:
                if ref not in walked:
                    walked[ref] = {path: entry.digest[:12] for path, entry in ctx.repository.trees.walk(ref)}
                files |= walked[ref]
            except UndriftError as error:
                gaps.append(f"The code of run {run.name} ({run.id}) cannot be read: {error.message}")
        yield files


def _locks(ctx: Context, runs: list[Run], gaps: list[str]) -> Iterable[Mapping[str, str]]:
    read: dict[str, dict[str, str]] = {}
    for run in runs:
        versions: dict[str, str] = {}
        refs = _refs(run, "environment")
        if not refs:
            gaps.append(f"No environment was kept with run {run.name} ({run.id}).")
        for ref in refs:
            try:
                if ref not in read:
                    read[ref] = distributions(_lock(ctx, ref))
                versions |= read[ref]
            except (UndriftError, ValueError, RecursionError) as error:
                gaps.append(f"The environment of run {run.name} ({run.id}) cannot be read: {error}")
        yield versions


def _lock(ctx: Context, ref: str) -> bytes:
    # A client may name any object as its environment.
    size = ctx.repository.objects.measure([ref])[0]
    if size is not None and size > _MOST_LOCK_BYTES:
        raise TooLarge(f"it has {size} bytes, too many for a list of distributions")
    return ctx.repository.objects.get(ref)


def _file(ctx: Context, run: Run, path: str) -> bytes | None:
    for ref in _refs(run, "code"):
        try:
            entry = ctx.repository.trees.find(ref, path)
        except NotFound:
            continue
        if entry.kind == "blob":
            if entry.size_bytes > _MOST_BYTES:
                raise TooLarge(f"{path[:200]} has {entry.size_bytes} bytes.", next_step="Download both and compare.")
            return ctx.repository.objects.get(entry.digest)
    return None
