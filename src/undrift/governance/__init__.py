"""Governance: who may do what; proof of what was done is the log's (`undrift.events.verify_log`).

Words: *actor*, *role*, *permission*. Until users and roles come, a workspace belongs to whoever can read its folder:
the hub listens on loopback only, and every actor there is its owner.
"""

from undrift.governance.policy import WorkspaceOwner

__all__ = ["WorkspaceOwner"]
