"""Webhooks: addresses outside that are told what happens, as a consumer of the log.

Words: *webhook*, *delivery* (an event on its way to a webhook, with an id that stays the same in every attempt),
*attempt* (one call), *courier* (queues and sends). A delivery is tried for about an hour, or as MLflow does; what is
given up is *dead*, kept for a month, and can be sent anew. Only public addresses are reached unless the workspace
allows others; what was looked up and judged is what is connected to.
"""

from undrift.events.webhooks.bodies import MLFLOW_EVENTS, Describe
from undrift.events.webhooks.delivery import Courier, deliver_due
from undrift.events.webhooks.model import Attempt, Delivery, DeliveryReport, Webhook
from undrift.events.webhooks.operations import (
    CreateWebhook,
    DeleteWebhook,
    DeliveryPage,
    FindWebhook,
    ListDeliveries,
    ListWebhooks,
    RetryDelivery,
    TestWebhook,
    UpdateWebhook,
    WebhookPage,
    WebhookTest,
    create_webhook,
    delete_webhook,
    find_webhook,
    list_deliveries,
    list_webhooks,
    retry_delivery,
    test_webhook,
    update_webhook,
)

__all__ = [
    "MLFLOW_EVENTS",
    "Attempt",
    "Courier",
    "CreateWebhook",
    "DeleteWebhook",
    "Delivery",
    "DeliveryPage",
    "DeliveryReport",
    "Describe",
    "FindWebhook",
    "ListDeliveries",
    "ListWebhooks",
    "RetryDelivery",
    "TestWebhook",
    "UpdateWebhook",
    "Webhook",
    "WebhookPage",
    "WebhookTest",
    "create_webhook",
    "delete_webhook",
    "deliver_due",
    "find_webhook",
    "list_deliveries",
    "list_webhooks",
    "retry_delivery",
    "test_webhook",
    "update_webhook",
]
