"""Exchange: what comes in from other systems, and what goes out so that anybody can read it.

Words: *source* (what is read: a store of MLflow, an export of W&B or Neptune), *archive* (a folder of open formats with
everything a project has recorded), *report* (what came in, and what could not). Coming in twice changes nothing.
"""

from undrift.exchange.archive import Manifest, export_project, import_archive, read_manifest
from undrift.exchange.bring import bring_in
from undrift.exchange.mlflow import open_mlflow
from undrift.exchange.model import Count, Problem, Report, Source
from undrift.exchange.target import Here

__all__ = [
    "Count",
    "Here",
    "Manifest",
    "Problem",
    "Report",
    "Source",
    "bring_in",
    "export_project",
    "import_archive",
    "open_mlflow",
    "read_manifest",
]
