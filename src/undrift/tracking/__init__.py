"""Tracking: every execution is a run with what went in, its parameters, what came out, and how it ended.

Words: *experiment* (where comparable runs gather), *run* (its id may be made by the client), *metric*, *parameter*,
*link* (what a run read or made; lineage is the graph of these and nothing else records it).
"""

from undrift.tracking.model import MetricPoint, Run, RunLink
from undrift.tracking.operations import (
    EndRun,
    FindRun,
    ListRuns,
    LogRun,
    StartRun,
    end_run,
    find_run,
    list_runs,
    log_run,
    start_run,
)

__all__ = [
    "EndRun",
    "FindRun",
    "ListRuns",
    "LogRun",
    "MetricPoint",
    "Run",
    "RunLink",
    "StartRun",
    "end_run",
    "find_run",
    "list_runs",
    "log_run",
    "start_run",
]
