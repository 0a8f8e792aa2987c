"""Frees storage: what was deleted long enough ago goes for good, and with it the bytes that nothing needs any more.

First the rows go, some at a time, each time with a note in the same transaction of the objects they named. Then what is
needed is marked anew from all rooms, and the rest is swept (`undrift.blobs.collection`). A process that is killed
leaves nothing that the next one does not find: rows that are gone have their notes, and what is not needed is found by
looking, not by remembering.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from itertools import groupby, islice

import msgspec

from undrift.blobs.collection import Digests, Needed, Root, Rounds, Swept, collecting, mark, sweep
from undrift.core.context import Context
from undrift.core.errors import NotFound, UndriftError
from undrift.events import ListEvents, list_events
from undrift.governance import records
from undrift.governance.model import Freed, Kept
from undrift.governance.stored import REFERENCES
from undrift.metastore.references import Doomed, Held
from undrift.registry import stored as registry
from undrift.tracking import stored as tracking

__all__ = ["SHORTEST_WAIT", "WAIT", "free", "held_now"]

SHORTEST_WAIT = timedelta(hours=1)
"""How long an object has not been needed, at least, before it goes: whoever has just written it will say what for."""

WAIT = timedelta(days=1)
"""How long objects of which nobody knows since when they are not needed are kept after that was noticed."""

_RUNS = 200
_SHOWN = 100
_NOTED = 5000
_UPLOAD_LEFT = timedelta(days=1)


def held_now(ctx: Context) -> tuple[Held, list[str]]:
    """Return what must stay although it was deleted, and the objects that are held by name."""
    with ctx.read() as tx:
        refs = records.held_refs(tx)
    return Held(
        runs=(refs.get("runs", []), registry.held_runs()),
        experiments=([int(one) for one in refs.get("experiments", [])],),
        logged_models=(refs.get("logged_models", []), registry.held_models()),
        versions=(refs.get("models", []),),
    ), refs.get("objects", [])


def free(ctx: Context, *, dry_run: bool, older_than: timedelta, project: str, with_models: bool) -> Freed:
    """Free storage; see `undrift.governance.free_storage`."""
    with nullcontext(None) if dry_run else collecting(ctx.repository.store) as rounds:
        return _Freeing(ctx, rounds, older_than, project, with_models=with_models).run()


class _Freeing:
    def __init__(
        self, ctx: Context, rounds: Rounds | None, older_than: timedelta, project: str, *, with_models: bool
    ) -> None:
        self._ctx = ctx
        self._rounds = rounds
        self._project = project
        self._now = ctx.now()
        held, self._held_objects = held_now(ctx)
        self._doomed = Doomed(self._now - older_than, held, project, with_models)
        self._ripe_before = self._now - max(SHORTEST_WAIT, min(older_than, WAIT))
        self._given = _Growing()
        self._needed = Needed()
        self._removed: list[str] = []
        self._missing: list[Kept] = []
        self._missing_count = 0
        self._errors: list[str] = []

    def run(self) -> Freed:
        began = time.monotonic()
        # The models first: some go because of their run, and a run that is gone says nothing any more.
        models = self._purge("logged model")
        runs = self._purge("run")
        experiments = self._purge_experiments()
        versions = self._give_up_versions()
        self._mark()
        self._forget_needed()
        judge = _Judge(self._ctx, self._doomed, self._ripe_before, self._now, self._given if self._dry else None)
        swept = sweep(self._ctx.repository, self._needed, judge, self._rounds)
        kept_objects, kept = self._kept()
        freed = Freed(
            dry_run=self._dry,
            runs=runs,
            experiments=experiments,
            logged_models=models,
            versions=versions,
            removed=tuple(self._removed),
            objects=swept.removed,
            freed_bytes=swept.freed_bytes,
            packs_rewritten=swept.packs_rewritten,
            uploads=0 if self._dry else self._ctx.repository.uploads.sweep(self._now - _UPLOAD_LEFT),
            stored_bytes=swept.stored_bytes,
            kept_objects=kept_objects,
            kept=tuple(kept),
            later_objects=swept.later,
            later_bytes=swept.later_bytes,
            missing_count=self._missing_count + swept.missing_count,
            missing=tuple(self._missing_now(swept)),
            errors=tuple([*self._errors, *swept.errors][:_SHOWN]),
            seconds=round(time.monotonic() - began, 3),
        )
        if not self._dry:
            self._tell(freed)
        return freed

    @property
    def _dry(self) -> bool:
        return self._rounds is None

    def _purge(self, what: str) -> int:
        """Remove doomed runs or logged models, a batch a transaction; returns how many."""
        find = tracking.doomed_runs if what == "run" else tracking.doomed_models
        remove = tracking.remove_runs if what == "run" else tracking.remove_models
        count, after = 0, ""
        while True:
            with self._ctx.read() as tx:
                batch = find(tx, self._doomed, _RUNS, after)
                named = {one.id: tracking.doomed_sizes(tx, [one.id]) for one in batch}
            if not batch:
                return count
            after = batch[-1].id
            # Asked before the rows go: it is slow, and nobody else may wait for it.
            there = {one.id: self._there(f"{what} {one.id}", named[one.id]) for one in batch}
            going = {one.id for one in batch}
            if not self._dry:
                self._stay()
                with self._ctx.begin() as tx:
                    self._look_at_holds()
                    going = set(remove(tx, self._doomed, [one.id for one in batch]))
                    for one in batch:
                        if one.id in going:
                            records.add_unneeded(tx, one.deleted_at, there[one.id])
                    by_project = sorted((one for one in batch if one.id in going), key=lambda one: one.project)
                    for project, some in groupby(by_project, key=lambda one: one.project):
                        ids = [one.id for one in some]
                        self._ctx.emit(
                            "runs.removed" if what == "run" else "logged_models.removed",
                            "storage",
                            project=project,
                            count=len(ids),
                            ids=ids,
                        )
            count += len(going)
            self._note(f"{what} {one.id} ({one.name})" for one in batch if one.id in going)

    def _purge_experiments(self) -> int:
        count, after = 0, 0
        while True:
            with self._ctx.read() as tx:
                batch = tracking.doomed_experiments(tx, self._doomed, _RUNS, after)
            if not batch:
                return count
            after = int(batch[-1].id)
            going = {int(one.id) for one in batch}
            if not self._dry:
                self._stay()
                with self._ctx.begin() as tx:
                    self._look_at_holds()
                    going = set(tracking.remove_experiments(tx, self._doomed, sorted(going)))
                    for one in batch:
                        if int(one.id) in going:
                            self._ctx.emit(
                                "experiment.removed", f"experiments/{one.id}", project=one.project, name=one.name
                            )
            count += len(going)
            self._note(f"experiment {one.id} ({one.name})" for one in batch if int(one.id) in going)

    def _give_up_versions(self) -> int:
        """Let go of the bytes of model versions that were deleted: their rows stay, for the history tells of them."""
        found: dict[str, list[records.Named]] = {}
        with self._ctx.read() as tx:
            for reference in registry.REFERENCES:
                for one in records.named(tx, reference, self._doomed, dead=True):
                    found.setdefault(one.holder.partition(" of ")[2] or one.holder, []).append(one)
            for holder in records.gave_up(tx, list(found)):
                del found[holder]
        count = 0
        for holder, named in found.items():
            sizes = self._there(holder, {one.digest: 0 for one in named})
            if self._dry:
                count += 1
                continue
            self._stay()
            with self._ctx.begin() as tx:
                if records.give_up(tx, holder, self._now):
                    records.add_unneeded(tx, self._doomed.before, sizes)
                    count += 1
        return count

    def _there(self, holder: str, named: dict[str, int]) -> dict[str, int]:
        """Return the sizes of those objects that are in the store, with all below trees; note those that are not."""
        digests = [digest for digest in named if records.is_digest(digest)]
        # A file of which the size is known is no tree, whatever its bytes say. What another of them named before was
        # noted then.
        roots = (Root(one, "object" if named[one] else "any", holder) for one in digests)
        mark(self._ctx.repository, roots, self._given, lambda *_: None)
        fresh, self._given.fresh = self._given.fresh, []
        sizes: dict[str, int] = {}
        for digest, size in zip(fresh, self._ctx.repository.objects.measure(fresh), strict=True):
            if size is not None:
                sizes[digest] = size
            elif named.get(digest):
                self._lost(digest, holder)
        return sizes

    def _stay(self) -> None:
        """Stay the one who collects, however long this takes."""
        if self._rounds is not None:
            self._rounds.lock()

    def _look_at_holds(self) -> None:
        """Keep what somebody holds since this began, too."""
        held, self._held_objects = held_now(self._ctx)
        self._doomed = self._doomed._replace(held=held)

    def _mark(self) -> None:
        self._look_at_holds()
        lost: list[tuple[str, str, str]] = []
        repository = self._ctx.repository

        def missing(digest: str, holder: str, reason: str) -> None:
            if len(lost) < _SHOWN:
                lost.append((digest, holder, reason))

        for root in self._roots():
            self._stay()
            mark(repository, (root,), self._needed, missing)
        for digest, holder, reason in lost:
            self._errors.append(f"{holder} names {digest}: {reason}")

    def _roots(self) -> Iterator[Root]:
        refs = self._ctx.repository.refs
        for name in list(refs.list()):
            try:
                yield Root(refs.read(name), "any", f"ref {name}")
            except NotFound:  # removed meanwhile
                continue
            except UndriftError as error:
                self._errors.append(str(error))
        for digest in self._held_objects:
            yield Root(digest, "any", "a hold")
        yield from self._logbooks()
        for reference in REFERENCES:
            with self._ctx.read() as tx:
                for one in records.named(tx, reference, self._doomed):
                    yield Root(*one)

    def _logbooks(self) -> Iterator[Root]:
        """Give the logs of other workspaces that were brought in: only the log here names them."""
        asked = ListEvents(subject="logbooks", type="logbook.imported", limit=1000)
        while page := list_events(self._ctx, asked):
            for event in page:
                if records.is_digest(digest := event.subject.rpartition("/")[2]):
                    yield Root(digest, "object", event.subject)
            asked = msgspec.structs.replace(asked, before=page[-1].position)

    def _forget_needed(self) -> None:
        """Forget what was noted of objects that are needed again."""
        after = ""
        while True:
            with self._ctx.read() as tx:
                some = records.walk_unneeded(tx, after, _NOTED)
            if not some:
                return
            after = some[-1]
            if again := [digest for digest in some if digest in self._needed]:
                with self._ctx.begin() as tx:
                    records.forget_unneeded(tx, again)

    def _kept(self) -> tuple[int, list[Kept]]:
        """Say what of the removed things is kept, and who needs it."""
        count = 0
        some: list[str] = []
        for digest in self._given:
            if digest in self._needed:
                count += 1
                if len(some) < _SHOWN:
                    some.append(digest)
        with self._ctx.read() as tx:
            by = records.holders(tx, REFERENCES, self._doomed, some)
            holds = records.list_holds(tx, limit=_SHOWN)
            waiting = tracking.deleted_later(tx, self._doomed.before, _SHOWN)
        kept = [Kept(f"object {one}", by.get(one, "a tree, a ref or a hold")) for one in some]
        kept += [Kept(one.subject, f"held by {one.actor}: {one.reason}") for one in holds]
        kept += [
            Kept(f"run {one.id} ({one.name})", f"deleted {one.deleted_at:%Y-%m-%d %H:%M} UTC, not long enough ago")
            for one in waiting
            if not self._project or one.project == self._project
        ]
        with self._ctx.read() as tx:
            kept += [Kept(f"run {id_}", "a model version is made of its artifacts") for id_ in self._made_of(tx)]
        return count, kept[:_SHOWN]

    def _made_of(self, tx: object) -> list[str]:
        return tracking.deleted_among(tx, registry.held_runs(), self._doomed.before, _SHOWN)

    def _missing_now(self, swept: Swept) -> list[Kept]:
        some = swept.missing[:_SHOWN]
        with self._ctx.read() as tx:
            by = records.holders(tx, REFERENCES, self._doomed, some)
        found = [*self._missing, *(Kept(one, by.get(one, "a tree, a ref or a text")) for one in some)]
        return found[:_SHOWN]

    def _lost(self, digest: str, holder: str) -> None:
        self._missing_count += 1
        if len(self._missing) < _SHOWN:
            self._missing.append(Kept(digest, holder))

    def _note(self, removed: Iterable[str]) -> None:
        self._removed.extend(islice(removed, max(3 * _SHOWN - len(self._removed), 0)))

    def _tell(self, freed: Freed) -> None:
        with self._ctx.begin():
            self._ctx.emit(
                "storage.freed",
                "storage",
                project=self._project,
                runs=freed.runs,
                experiments=freed.experiments,
                logged_models=freed.logged_models,
                versions=freed.versions,
                objects=freed.objects,
                freed_bytes=freed.freed_bytes,
                later_objects=freed.later_objects,
                missing=freed.missing_count,
                errors=len(freed.errors),
            )


class _Growing(Needed):
    """A set that also lists what was new since somebody took the list."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh: list[str] = []

    def add(self, digest: str) -> bool:
        new = super().add(digest)
        if new:
            self.fresh.append(digest)
        return new


class _Judge:
    """Says what may go: what was not needed for long enough, and is not needed now.

    Args:
        ctx: Where that is noted.
        doomed: What does not count.
        before: Since before when an object must not have been needed.
        now: This moment.
        given: What removed things named, when nothing is removed really and so nothing was noted.
    """

    def __init__(self, ctx: Context, doomed: Doomed, before: datetime, now: datetime, given: Digests | None) -> None:
        self._ctx = ctx
        self._doomed = doomed
        self._before = before
        self._now = now
        self._given = given
        self._since: dict[str, tuple[datetime, int]] = {}

    def ripe(self, found: Sequence[tuple[str, int]]) -> set[str]:
        digests = [digest for digest, _ in found]
        with self._ctx.read() as tx:
            since = records.unneeded_since(tx, digests)
        new = {digest: size for digest, size in found if digest not in since}
        if self._given is not None:
            given = {digest for digest in new if digest in self._given}
            new = {digest: size for digest, size in new.items() if digest not in given}
        else:
            given = set()
        if new:
            with self._ctx.begin() as tx:
                records.add_unneeded(tx, self._now, new)
        ripe = {digest for digest, at in since.items() if at <= self._before} | given
        self._since = {digest: (since[digest], size) for digest, size in found if digest in ripe and digest in since}
        return ripe

    def forget(self, digests: Sequence[str]) -> None:
        with self._ctx.begin() as tx:
            records.forget_unneeded(tx, digests)

    def confirm(self, digests: Sequence[str]) -> set[str]:
        with self._ctx.read() as tx:
            return set(digests) - records.needed_again(tx, REFERENCES, self._doomed, digests)

    def spared(self, digests: Sequence[str]) -> None:
        if digests:
            with self._ctx.begin() as tx:
                for digest in digests:
                    since, size = self._since[digest]
                    records.add_unneeded(tx, since, {digest: size})
