"""The nouns of storage: what is kept and by whom, what was freed and what was not, and holds."""

from __future__ import annotations

from datetime import datetime

import msgspec

__all__ = ["Freed", "Hold", "Kept", "Share", "Storage", "Subject"]


class Hold(msgspec.Struct, frozen=True):
    """Somebody's word that something is not to be removed, whoever deletes it.

    Attributes:
        id: Its id.
        project: Whose it is.
        subject: What is held: ``runs/<id>``, ``experiments/<number>``, ``logged_models/<id>``,
            ``models/<name>/<number>`` or ``objects/<digest>``.
        reason: Why.
        actor: Who holds it.
        at: Since when.
        released_at: Until when; None while it holds.
        released_by: Who released it.
        release_reason: Why it was released.
    """

    id: str
    project: str
    subject: str
    reason: str
    actor: str
    at: datetime
    released_at: datetime | None = None
    released_by: str | None = None
    release_reason: str = ""


class Share(msgspec.Struct, frozen=True):
    """How much one kind of bytes takes, of one project and owner.

    Attributes:
        kind: What it is.
        project: Whose; empty when it is nobody's.
        owner: The person, model or endpoint it belongs to.
        things: How many runs, versions, segments and so on.
        logical_bytes: The sum of all sizes, as if nothing were shared.
        physical_bytes: What equal bytes take, counted once in this share; another share may have the same bytes.
        freed_by: What frees it, in words; empty when it is needed.
    """

    kind: str
    project: str
    owner: str
    things: int
    logical_bytes: int
    physical_bytes: int
    freed_by: str = ""


class Subject(msgspec.Struct, frozen=True):
    """One of the largest things.

    Attributes:
        kind: What it is.
        project: Whose.
        name: Which.
        logical_bytes: How much it takes, shared or not.
    """

    kind: str
    project: str
    name: str
    logical_bytes: int


class Storage(msgspec.Struct, frozen=True):
    """What the store holds, and for whom.

    Attributes:
        shares: By kind, project and owner, the largest first.
        largest: The largest runs, experiments, models and datasets.
        logical_bytes: The sum of the shares.
        physical_bytes: What all shares take together, equal bytes counted once.
        unneeded_bytes: Of objects nothing needed when storage was freed (or would have been) last.
        unneeded_objects: How many those were.
        stored_bytes: What really lies in the store; None when it was not measured.
        stored_objects: How many keys that is.
        at: When it was looked at.
    """

    shares: tuple[Share, ...]
    largest: tuple[Subject, ...]
    logical_bytes: int
    physical_bytes: int
    unneeded_bytes: int
    unneeded_objects: int
    stored_bytes: int | None
    stored_objects: int | None
    at: datetime


class Kept(msgspec.Struct, frozen=True):
    """Why something that was deleted is kept.

    Attributes:
        what: The run, model, experiment or object.
        by: Who needs it, or what has to pass first.
    """

    what: str
    by: str


class Freed(msgspec.Struct, frozen=True):
    """What came of freeing storage.

    Attributes:
        dry_run: Nothing was removed: it says what would be.
        runs: How many runs were removed with all they logged.
        experiments: How many experiments.
        logged_models: How many logged models.
        versions: How many deleted model versions gave up their bytes.
        removed: Which those were, at most a hundred of each.
        objects: How many objects were removed.
        freed_bytes: How many bytes the store is smaller by.
        packs_rewritten: How many packs were made anew.
        uploads: How many uploads that nobody finished were removed.
        stored_bytes: What was in the store before.
        kept_objects: How many objects of what was removed are kept, for others need them.
        kept: Who keeps what, at most a hundred.
        later_objects: How many objects are not needed, but not for long enough yet, or in a pack that mostly is.
        later_bytes: How many bytes those are.
        missing_count: How many objects were missing already.
        missing: Which, and who names them, at most a hundred.
        errors: What went wrong; everything else was done all the same.
        seconds: How long it took.
    """

    dry_run: bool
    runs: int = 0
    experiments: int = 0
    logged_models: int = 0
    versions: int = 0
    removed: tuple[str, ...] = ()
    objects: int = 0
    freed_bytes: int = 0
    packs_rewritten: int = 0
    uploads: int = 0
    stored_bytes: int = 0
    kept_objects: int = 0
    kept: tuple[Kept, ...] = ()
    later_objects: int = 0
    later_bytes: int = 0
    missing_count: int = 0
    missing: tuple[Kept, ...] = ()
    errors: tuple[str, ...] = ()
    seconds: float = 0.0
