"""Tracking in SQL: one file for each thing that is kept, and one for searches."""

from undrift.tracking.records.experiments import *  # noqa: F403 - the door of these files
from undrift.tracking.records.imports import *  # noqa: F403
from undrift.tracking.records.metrics import *  # noqa: F403
from undrift.tracking.records.models import *  # noqa: F403
from undrift.tracking.records.runs import *  # noqa: F403
from undrift.tracking.records.search import *  # noqa: F403
