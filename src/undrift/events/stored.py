"""What the log and the webhooks keep in the store: nothing. They tell of objects, and keep none alive."""

from __future__ import annotations

from undrift.events.tables import events
from undrift.events.webhooks.tables import deliveries, webhooks

__all__ = ["NO_REFERENCES"]

NO_REFERENCES = {
    events.c.data: "what happened; a log that kept all it tells of would keep everything",
    events.c.trace_id: "of a call",
    events.c.hash: "of the chain of events",
    webhooks.c.event_types: "names of events",
    webhooks.c.mlflow_events: "names of events",
    deliveries.c.data: "a copy of an event",
    deliveries.c.tries: "times and answers",
}
