"""Governance: who may do what, and what is kept for how long; proof is the log's (`undrift.events.verify_log`).

Words: *actor*, *role*, *permission*; *hold* (a person's word that something stays), *to free* (to remove for good what
was deleted, with the bytes that nothing else needs), *doomed* (deleted so long ago that it may be freed). Until users
and roles come, a workspace belongs to whoever can read its folder: the hub listens on loopback only, and every actor
there is its owner.
"""

from undrift.governance.model import Freed, Hold, Kept, Share, Storage, Subject
from undrift.governance.operations import (
    ExplainStorage,
    FreeStorage,
    HoldSubject,
    ListHolds,
    ReleaseHold,
    explain_storage,
    free_storage,
    hold,
    list_holds,
    release,
)
from undrift.governance.policy import WorkspaceOwner

__all__ = [
    "ExplainStorage",
    "FreeStorage",
    "Freed",
    "Hold",
    "HoldSubject",
    "Kept",
    "ListHolds",
    "ReleaseHold",
    "Share",
    "Storage",
    "Subject",
    "WorkspaceOwner",
    "explain_storage",
    "free_storage",
    "hold",
    "list_holds",
    "release",
]
