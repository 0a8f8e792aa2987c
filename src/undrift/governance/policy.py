"""The policy of a workspace without users: whoever can reach it owns it."""

from __future__ import annotations

from undrift.core.context import Actor
from undrift.core.errors import Forbidden

__all__ = ["WorkspaceOwner"]


class WorkspaceOwner:
    """Lets the owner of a workspace do everything, and nobody else anything.

    >>> WorkspaceOwner().check(Actor("ada"), "registry:promote")
    """

    def check(self, actor: Actor, permission: str) -> None:
        """Return when allowed.

        Raises:
            Forbidden: Nobody said who is asking.
        """
        if not actor.name:
            raise Forbidden(f"{permission!r} needs an actor.", next_step="Say who is asking.")
