"""What all rooms keep in the store, in one place, and what governance itself says of its columns."""

from __future__ import annotations

from typing import Any

from undrift.data import stored as data
from undrift.events import stored as events
from undrift.governance.tables import given_up, holds, unneeded_objects
from undrift.loop import stored as loop
from undrift.metastore.references import Holding, Reference
from undrift.monitoring import stored as monitoring
from undrift.registry import stored as registry
from undrift.serving import stored as serving
from undrift.tracking import stored as tracking

__all__ = ["HOLDINGS", "NO_REFERENCES", "REFERENCES"]

REFERENCES: tuple[Reference, ...] = (
    *data.REFERENCES,
    *tracking.REFERENCES,
    *registry.REFERENCES,
    *serving.REFERENCES,
    *monitoring.REFERENCES,
    *loop.REFERENCES,
)
"""Every column that names objects; what refs, holds and imported logs name is needed, too."""

NO_REFERENCES: dict[Any, str] = {
    **data.NO_REFERENCES,
    **events.NO_REFERENCES,
    **loop.NO_REFERENCES,
    **monitoring.NO_REFERENCES,
    **registry.NO_REFERENCES,
    **serving.NO_REFERENCES,
    **tracking.NO_REFERENCES,
    holds.c.ref: "of what is held; read as such",
    unneeded_objects.c.digest: "of what is not needed",
    given_up.c.holder: "of what gave its bytes up",
}
"""Columns that look as if they named objects, and why they do not."""

HOLDINGS: tuple[Holding, ...] = (*data.HOLDINGS, *tracking.HOLDINGS, *serving.HOLDINGS)
"""The kinds of bytes whose sizes the tables know."""
