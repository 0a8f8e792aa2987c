"""What clients and the page ask of the server itself."""

from __future__ import annotations

import msgspec

from undrift.hub.mlflow.routes import Answer, Request, Route

__all__ = ["ROUTES", "VERSION"]

VERSION = "3.0.0"
"""Read by clients to know whether spans may be sent: from 3.4 on they would be, and this hub keeps none."""

_SERVER_INFO = {
    "store_type": "SqlStore",
    "workspaces_enabled": False,
    "trace_archival_enabled": False,
    "multipart_uploads_enabled": False,
    "multipart_downloads_enabled": False,
    "presigned_upload_run_id_supported": False,
    "presigned_upload_model_id_supported": False,
    "features_enabled": {},
}
_TELEMETRY = {"disable_ui_telemetry": True, "ui_rollout_percentage": 0, "disable_ui_events": []}


async def _version(request: Request) -> Answer:  # noqa: ARG001 - handlers alike
    return Answer(VERSION.encode(), content_type=b"text/plain; charset=utf-8")


async def _server_info(request: Request) -> Answer:  # noqa: ARG001
    return Answer(msgspec.json.encode(_SERVER_INFO))


async def _telemetry(request: Request) -> Answer:  # noqa: ARG001
    return Answer(msgspec.json.encode(_TELEMETRY))


ROUTES = (
    Route(("GET",), "/version", "", _version),
    Route(("GET",), "3.0/mlflow/server-info", "", _server_info),
    Route(("GET", "POST"), "3.0/mlflow/ui-telemetry", "", _telemetry, page_only=True),
)
