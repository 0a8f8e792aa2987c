"""Logging from training code: `undrift.run` begins a run, and never slows or stops what it watches.

Words: *run folder* (where what a run says lies on this machine until it was sent), *lane* (a thread that sends),
*losses* (what was dropped or refused, by kind). Stands on the client: everything goes through `undrift.connect`.
"""

from __future__ import annotations

from undrift.recorder.live import LiveRun, run
from undrift.recorder.spool import runs_folder
from undrift.recorder.sync import Synced, sync_runs

__all__ = ["LiveRun", "Synced", "run", "runs_folder", "sync_runs"]
