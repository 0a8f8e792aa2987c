"""The log: everything that happens is an event, appended in the transaction of the change it tells of.

Words: *event* (CloudEvents shape), *position* (1, 2, 3 … without gaps), *consumer* and its *offset*, *chain* (each
event's hash covers the one before, so an edited, removed or reordered event shows), *head* (the newest position and
hash, kept outside the database too, so that a cut-off end shows), *webhook* (an address outside that is told what
happens), *delivery* (an event on its way there). Audit, lineage, triggers, webhooks and pages read this log; none loses
or repeats an event.
"""

from undrift.events.log import EventLog
from undrift.events.model import Event, Head, Verification
from undrift.events.operations import ListEvents, VerifyLog, list_events, verify_log
from undrift.events.reach import EVERYWHERE, Reach
from undrift.events.records import advance, head, offset, read_after
from undrift.events.webhooks import (
    MLFLOW_EVENTS,
    Attempt,
    Courier,
    CreateWebhook,
    DeleteWebhook,
    Delivery,
    DeliveryPage,
    DeliveryReport,
    Describe,
    FindWebhook,
    ListDeliveries,
    ListWebhooks,
    RetryDelivery,
    TestWebhook,
    UpdateWebhook,
    Webhook,
    WebhookPage,
    WebhookTest,
    create_webhook,
    delete_webhook,
    deliver_due,
    find_webhook,
    list_deliveries,
    list_webhooks,
    retry_delivery,
    test_webhook,
    update_webhook,
)

__all__ = [
    "EVERYWHERE",
    "MLFLOW_EVENTS",
    "Attempt",
    "Courier",
    "CreateWebhook",
    "DeleteWebhook",
    "Delivery",
    "DeliveryPage",
    "DeliveryReport",
    "Describe",
    "Event",
    "EventLog",
    "FindWebhook",
    "Head",
    "ListDeliveries",
    "ListEvents",
    "ListWebhooks",
    "Reach",
    "RetryDelivery",
    "TestWebhook",
    "UpdateWebhook",
    "Verification",
    "VerifyLog",
    "Webhook",
    "WebhookPage",
    "WebhookTest",
    "advance",
    "create_webhook",
    "delete_webhook",
    "deliver_due",
    "find_webhook",
    "head",
    "list_deliveries",
    "list_events",
    "list_webhooks",
    "offset",
    "read_after",
    "retry_delivery",
    "test_webhook",
    "update_webhook",
    "verify_log",
]
