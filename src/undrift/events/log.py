"""The log as the context sees it."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from undrift.core.context import EventDraft
from undrift.events import records

__all__ = ["EventLog"]


class EventLog:
    """Takes the events of a change into the chain, inside the change's transaction."""

    def append(self, tx: sa.Connection, drafts: Sequence[EventDraft]) -> None:
        """Append the drafts, in order."""
        records.append(tx, drafts)
