"""What serving keeps in the store."""

from __future__ import annotations

from typing import Any

from undrift.metastore.references import Doomed, Holding, Reference
from undrift.serving.tables import routes, segments

__all__ = ["HOLDINGS", "NO_REFERENCES", "REFERENCES"]


def _replaced(_: Doomed) -> Any:
    newer = routes.alias()
    return (
        newer.select()
        .with_only_columns(newer.c.revision)
        .where(newer.c.endpoint == routes.c.endpoint, newer.c.revision > routes.c.revision)
        .correlate(routes)
        .exists()
    )


_newest = routes.alias()
_PROJECT = (
    _newest.select()
    .with_only_columns(_newest.c.project)
    .where(_newest.c.endpoint == segments.c.endpoint)
    .order_by(_newest.c.revision.desc())
    .limit(1)
    .correlate(segments)
    .scalar_subquery()
)

REFERENCES = (
    Reference("predictions", segments.c.object, "object", (segments.c.endpoint, segments.c.id)),
    # What answers now is needed, whatever became of the version.
    Reference("endpoint", routes.c.arms, "text", (routes.c.endpoint, routes.c.revision), _replaced),
    Reference("route", routes.c.evidence, "text", (routes.c.endpoint, routes.c.revision), _replaced),
)

NO_REFERENCES: dict[Any, str] = {}

HOLDINGS = (
    Holding(
        "predictions",
        segments,
        _PROJECT,
        segments.c.endpoint,
        segments.c.object,
        segments.c.size_bytes,
        segments.c.object.is_not(None),
        (segments.c.endpoint,),
    ),
)
