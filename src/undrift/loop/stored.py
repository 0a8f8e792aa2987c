"""What the loop keeps in the store."""

from __future__ import annotations

from typing import Any

from undrift.loop.tables import cycles
from undrift.metastore.references import Reference

__all__ = ["NO_REFERENCES", "REFERENCES"]

REFERENCES = (Reference("cycle", cycles.c.evidence, "text", (cycles.c.endpoint, cycles.c.id)),)

NO_REFERENCES: dict[Any, str] = {}
