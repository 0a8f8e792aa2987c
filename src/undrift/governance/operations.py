"""What can be done about storage: see what takes it, free it, and hold what must stay."""

from __future__ import annotations

import re
from datetime import timedelta

import msgspec

from undrift.blobs import Entry
from undrift.core.context import Context
from undrift.core.errors import Conflict, Corrupt, Invalid, NotFound
from undrift.core.ids import new_id
from undrift.core.operation import operation
from undrift.governance import records
from undrift.governance.freeing import SHORTEST_WAIT, free
from undrift.governance.model import Freed, Hold, Share, Storage, Subject
from undrift.governance.stored import HOLDINGS
from undrift.registry import stored as registry
from undrift.tracking import FindExperiment, find_experiment
from undrift.tracking import stored as tracking
from undrift.tracking.artifacts import owner_of

__all__ = [
    "ExplainStorage",
    "FreeStorage",
    "HoldSubject",
    "ListHolds",
    "ReleaseHold",
    "explain_storage",
    "free_storage",
    "hold",
    "list_holds",
    "release",
]

_MOST_VERSIONS = 2000
_ID = re.compile(r"(runs/[0-9a-f]{32}|experiments/\d{1,18}|logged_models/m-[0-9a-f]{32}|objects/[0-9a-f]{64})")
_VERSION = re.compile(r"models/(.+)/(\d{1,9})")


class ExplainStorage(msgspec.Struct, frozen=True):
    """What to look at.

    Attributes:
        project: Only this project; all when left out.
        limit: How many of the largest things, and of the shares, to show; 1 to 1,000.
        measure: Also go through the store and count what really lies there; it takes a while when that is much.
    """

    project: str | None = None
    limit: int = 20
    measure: bool = False


class FreeStorage(msgspec.Struct, frozen=True):
    """What to free.

    Attributes:
        dry_run: Remove nothing, and say what would be.
        older_than_hours: How long ago something was deleted, at least; 1 or more.
        project: Only what was deleted in this project; objects that nothing needs are nobody's, and go always.
        with_models: Logged models that are not deleted go with the run that made them, when that goes.
    """

    dry_run: bool = True
    older_than_hours: float = 7 * 24
    project: str = ""
    with_models: bool = False


class HoldSubject(msgspec.Struct, frozen=True):
    """What to hold, and why.

    Attributes:
        project: Whose it is.
        subject: ``runs/<id>``, ``experiments/<number>``, ``logged_models/<id>``, ``models/<name>/<number>`` or
            ``objects/<digest>``.
        reason: Why, for whoever wants to free storage.
    """

    project: str
    subject: str
    reason: str


class ReleaseHold(msgspec.Struct, frozen=True):
    """Which hold to end, and why."""

    id: str
    reason: str = ""


class ListHolds(msgspec.Struct, frozen=True):
    """Which holds: of a project, of a subject, also those that were released."""

    project: str = ""
    subject: str = ""
    released: bool = False
    limit: int = 100


@operation("governance.explain_storage", permission="governance:read")
def explain_storage(ctx: Context, request: ExplainStorage) -> Storage:
    """Say what takes storage: by kind, project and owner, with the largest things; equal bytes are kept once.

    Sizes come from the tables. The files of model versions are looked up in their trees, the newest 2,000 of them. What
    nothing needs is known from the last time storage was freed, or would have been.
    """
    limit = max(1, min(request.limit, 1000))
    with ctx.read() as tx:
        found = [
            share
            for holding in HOLDINGS
            for share in records.shares(
                tx, holding, request.project, "undrift storage free" if "not freed" in holding.what else ""
            )
        ]
        large = [one for holding in HOLDINGS for one in records.largest(tx, holding, request.project, limit)]
        large += records.largest(tx, tracking.EXPERIMENTS, request.project, limit)
        physical = records.physical_bytes(tx, HOLDINGS, request.project)
        versions = registry.trees(tx, request.project, _MOST_VERSIONS)
        count, unneeded = records.unneeded_sum(tx)
    shares, subjects, files = _versions(ctx, versions)
    with ctx.read() as tx:
        # A version is made of the artifacts of a run more often than not.
        counted = records.counted(tx, HOLDINGS, request.project, list(files))
    found += shares
    large += subjects
    stored_bytes = stored_objects = None
    if request.measure:
        stored_bytes = stored_objects = 0
        for _, size in ctx.repository.store.list():
            stored_bytes += size
            stored_objects += 1
    found.sort(key=lambda share: (-share.logical_bytes, share.kind, share.project, share.owner))
    large.sort(key=lambda one: (-one.logical_bytes, one.kind, one.name))
    return Storage(
        shares=tuple(found[:limit]),
        largest=tuple(large[:limit]),
        logical_bytes=sum(share.logical_bytes for share in found),
        physical_bytes=physical + sum(size for digest, size in files.items() if digest not in counted),
        unneeded_bytes=unneeded,
        unneeded_objects=count,
        stored_bytes=stored_bytes,
        stored_objects=stored_objects,
        at=ctx.now(),
    )


def _versions(
    ctx: Context, versions: list[tuple[str, str, str, int, str, str]]
) -> tuple[list[Share], list[Subject], dict[str, int]]:
    """Return what model versions take, the largest models, and the objects of their files with their sizes."""
    shares: dict[tuple[str, str, bool], list[list[Entry]]] = {}
    models: dict[tuple[str, str], int] = {}
    known: dict[str, list[Entry]] = {}
    for of, owner, name, _, digest, state in versions:
        if digest not in known:
            try:
                known[digest] = [entry for _, entry in ctx.repository.trees.walk(digest)]
            except (NotFound, Invalid, Corrupt):
                known[digest] = []
        if known[digest] or state != "deleted":
            shares.setdefault((of, owner, state == "deleted"), []).append(known[digest])
            models[of, name] = models.get((of, name), 0) + sum(entry.size_bytes for entry in known[digest])
    found = [
        Share(
            "deleted model versions, not freed" if deleted else "model versions",
            of,
            owner,
            len(some),
            sum(entry.size_bytes for files in some for entry in files),
            sum({entry.digest: entry.size_bytes for files in some for entry in files}.values()),
            "undrift storage free" if deleted else "",
        )
        for (of, owner, deleted), some in shares.items()
    ]
    objects = {entry.digest: entry.size_bytes for files in known.values() for entry in files}
    return found, [Subject("model", of, name, size) for (of, name), size in models.items()], objects


@operation(
    "governance.free_storage",
    permission="governance:free",
    emits=("storage.freed", "runs.removed", "logged_models.removed", "experiment.removed"),
)
def free_storage(ctx: Context, request: FreeStorage) -> Freed:
    """Remove for good what was deleted long enough ago, and the bytes nothing needs; a dry run unless told.

    Doing it again is safe, also after a crash; it goes on past what is missing already. Objects go when they have not
    been needed for an hour at least: those that nobody ever named are noted, and go when it is done again a day later.

    Raises:
        Invalid: The time is less than an hour, or the call has an idempotency key: it would be one long transaction.
        Conflict: Another process frees storage.
    """
    if not request.older_than_hours >= SHORTEST_WAIT / timedelta(hours=1) or request.older_than_hours > 24 * 36_500:
        raise Invalid(
            f"{request.older_than_hours:g} hours is too short a time, or too long.",
            next_step="Writers need an hour to say what their bytes are for: name 1 hour or more.",
        )
    if ctx._tx is not None:  # noqa: SLF001 - bytes that are gone do not come back when a transaction is undone
        raise Invalid(
            "Storage cannot be freed within a transaction, and an idempotency key makes one.",
            next_step="Leave the key out: freeing storage again changes nothing.",
        )
    return free(
        ctx,
        dry_run=request.dry_run,
        older_than=timedelta(hours=request.older_than_hours),
        project=request.project,
        with_models=request.with_models,
    )


@operation("governance.hold", permission="governance:hold", emits=("storage.held",))
def hold(ctx: Context, request: HoldSubject) -> Hold:
    """Keep something from being removed, whoever deletes it, until the hold is released.

    Raises:
        Invalid: The subject cannot be held, or no reason is given.
        NotFound: There is no such thing in this project.
    """
    if not request.reason.strip():
        raise Invalid("A hold needs a reason.", next_step="Say why it has to stay, and until when.")
    with ctx.begin() as tx:
        ref = _ref(ctx, tx, request)
        for standing in records.list_holds(tx, project=request.project, subject=request.subject):
            if (standing.actor, standing.reason) == (ctx.actor.name, request.reason):
                return standing
        made = Hold(new_id(), request.project, request.subject, request.reason, ctx.actor.name, ctx.now())
        records.add_hold(tx, made, ref)
        ctx.emit("storage.held", request.subject, project=request.project, hold=made.id, reason=request.reason)
        return made


def _ref(ctx: Context, tx: object, request: HoldSubject) -> str:
    """Return what the subject is called in its own table; what is not there keeps nothing, and is refused."""
    if (said := _VERSION.fullmatch(request.subject)) is not None:
        found = registry.find_version_bytes(tx, request.project, said[1], int(said[2]))
        if found is None:
            raise NotFound(f"There is no version {said[2]} of model {said[1]!r}.", next_step="List them.")
        id_, tree = found
        # Asked for its size, an object stays for a day at least, whoever frees storage just now.
        if tree is not None and ctx.repository.objects.size(tree) is None:
            raise NotFound(f"The files of version {said[2]} of model {said[1]!r} are not in the store any more.")
        return id_
    if _ID.fullmatch(request.subject) is None:
        raise Invalid(
            f"{request.subject[:100]!r} cannot be held.",
            next_step="Name runs/<id>, experiments/<number>, logged_models/<id>, models/<name>/<number> or "
            "objects/<digest>.",
        )
    kind, _, ref = request.subject.partition("/")
    if kind == "objects":
        there = ctx.repository.objects.size(ref) is not None
    elif kind == "experiments":
        there = find_experiment(ctx, FindExperiment(request.project, int(ref))).id == int(ref)
    else:
        there = owner_of(tx, ref).project == request.project
    if not there:
        raise NotFound(
            f"There is no {request.subject} in project {request.project!r}.", next_step="List what there is."
        )
    return ref


@operation("governance.release", permission="governance:hold", emits=("storage.released",))
def release(ctx: Context, request: ReleaseHold) -> Hold:
    """End a hold: what it kept can be removed again.

    Raises:
        NotFound: There is no such hold.
        Conflict: It was released already.
    """
    with ctx.begin() as tx:
        found = records.find_hold(tx, request.id)
        if found is None:
            raise NotFound(f"There is no hold {request.id!r}.", next_step="List them with `undrift storage holds`.")
        if found.released_at is not None:
            raise Conflict(f"Hold {found.id} was released by {found.released_by} already.")
        records.release_hold(tx, found.id, ctx.now(), ctx.actor.name, request.reason)
        ctx.emit("storage.released", found.subject, project=found.project, hold=found.id, reason=request.reason)
        return msgspec.structs.replace(
            found, released_at=ctx.now(), released_by=ctx.actor.name, release_reason=request.reason
        )


@operation("governance.list_holds", permission="governance:read")
def list_holds(ctx: Context, request: ListHolds) -> list[Hold]:
    """List holds, the newest first."""
    with ctx.read() as tx:
        return records.list_holds(
            tx,
            project=request.project,
            subject=request.subject,
            released=request.released,
            limit=max(1, min(request.limit, 1000)),
        )
