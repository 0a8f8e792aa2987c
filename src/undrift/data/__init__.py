"""Data: tables that grow, every version of which can be read again; checks before rows are let in; quarantine.

Words: *dataset* (with key, event time and known-at time), *version* (a commit in the store), *check* (run before a
version becomes visible), *quarantine* (rows or stretches that nobody learns from, with the reason). Nothing here
changes a version that was made.
"""

from undrift.data.checks import Check, InRange, MostlyPresent
from undrift.data.imports import ExportDataset, ImportDataset, export_dataset, import_dataset
from undrift.data.model import Column, Dataset, DatasetVersion, Quarantine
from undrift.data.operations import (
    AddQuarantine,
    DatasetSummary,
    EndQuarantine,
    ListDatasets,
    ListDatasetVersions,
    ListQuarantines,
    RegisterDataset,
    add_quarantine,
    end_quarantine,
    list_dataset_versions,
    list_datasets,
    list_quarantines,
    register_dataset,
)
from undrift.data.versions import append, find_dataset, read, read_newest

__all__ = [
    "AddQuarantine",
    "Check",
    "Column",
    "Dataset",
    "DatasetSummary",
    "DatasetVersion",
    "EndQuarantine",
    "ExportDataset",
    "ImportDataset",
    "InRange",
    "ListDatasetVersions",
    "ListDatasets",
    "ListQuarantines",
    "MostlyPresent",
    "Quarantine",
    "RegisterDataset",
    "add_quarantine",
    "append",
    "end_quarantine",
    "export_dataset",
    "find_dataset",
    "import_dataset",
    "list_dataset_versions",
    "list_datasets",
    "list_quarantines",
    "read",
    "read_newest",
    "register_dataset",
]
