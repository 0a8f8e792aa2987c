"""What monitoring keeps in the store."""

from __future__ import annotations

from undrift.metastore.references import Reference
from undrift.monitoring.tables import incidents, windows

__all__ = ["NO_REFERENCES", "REFERENCES"]

REFERENCES = (
    Reference("profile of window", windows.c.profile, "object", (windows.c.endpoint, windows.c.start)),
    Reference("incident", incidents.c.findings, "text", (incidents.c.endpoint, incidents.c.number)),
)

NO_REFERENCES = {
    windows.c.served: "numbers",
    windows.c.versions: "numbers of versions",
    windows.c.missing: "numbers",
    windows.c.drift: "numbers",
    windows.c.suspect: "names of columns",
    incidents.c.columns: "names of columns",
}
