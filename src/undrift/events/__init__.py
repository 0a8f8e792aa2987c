"""The log: everything that happens is an event, appended in the transaction of the change it tells of.

Words: *event* (CloudEvents shape), *position* (1, 2, 3 … without gaps), *consumer* and its *offset*, *chain* (each
event's hash covers the one before, so an edited, removed or reordered event shows), *head* (the newest position and
hash, kept outside the database too, so that a cut-off end shows). Audit, lineage, triggers, webhooks and pages read
this log; none loses or repeats an event.
"""

from undrift.events.log import EventLog
from undrift.events.model import Event, Head, Verification
from undrift.events.operations import ListEvents, VerifyLog, list_events, verify_log
from undrift.events.records import advance, head, offset, read_after

__all__ = [
    "Event",
    "EventLog",
    "Head",
    "ListEvents",
    "Verification",
    "VerifyLog",
    "advance",
    "head",
    "list_events",
    "offset",
    "read_after",
    "verify_log",
]
