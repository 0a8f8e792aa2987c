"""The log as the context sees it."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from undrift.core.context import EventDraft
from undrift.events import records
from undrift.events.reach import Reach

__all__ = ["EventLog"]


class EventLog:
    """Takes the events of a change into the chain, inside the change's transaction.

    Args:
        reach: Which addresses that are not public webhooks may reach; none when left out.
    """

    def __init__(self, reach: Reach | None = None) -> None:
        self.reach = reach or Reach()

    def append(self, tx: sa.Connection, drafts: Sequence[EventDraft]) -> None:
        """Append the drafts, in order."""
        records.append(tx, drafts)
