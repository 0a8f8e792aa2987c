"""What data keeps in the store."""

from __future__ import annotations

from undrift.data.tables import dataset_versions, datasets, quarantines
from undrift.metastore.references import Holding, Reference

__all__ = ["HOLDINGS", "NO_REFERENCES", "REFERENCES"]

_VERSION = (dataset_versions.c.dataset_id, dataset_versions.c.number)

REFERENCES = (
    Reference("dataset version", dataset_versions.c.id, "commit", _VERSION),
    Reference("dataset version", dataset_versions.c.parent, "commit", _VERSION),
    Reference("profile of dataset version", dataset_versions.c.profile, "object", _VERSION),
    Reference("quarantine", quarantines.c.evidence, "text", (quarantines.c.dataset, quarantines.c.id)),
)

NO_REFERENCES = {
    datasets.c.checks: "rules, in the row",
    dataset_versions.c.columns: "names and types, in the row",
    quarantines.c.columns: "names",
}

HOLDINGS = (
    Holding(
        "dataset versions",
        dataset_versions.join(datasets, dataset_versions.c.dataset_id == datasets.c.id),
        datasets.c.project,
        datasets.c.owner,
        dataset_versions.c.id,
        dataset_versions.c.size_bytes,
        dataset_versions.c.number > 0,
        (datasets.c.name,),
    ),
)
