"""What the loop needs to know of one deployed model."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from undrift.core.context import Context
from undrift.loop.model import Retraining, Rollout
from undrift.loop.training import Recipe
from undrift.monitoring import Monitor

__all__ = ["Deployment"]


class Deployment(msgspec.Struct, frozen=True):
    """One model at one endpoint, with how it is made, watched, retrained and rolled out.

    Attributes:
        recipe: How it is made.
        monitor: What is watched.
        retraining: When it is made anew.
        rollout: How a new version takes over.
        refresh: Takes in what has become known up to a moment, so that it can be learnt from.
    """

    recipe: Recipe
    monitor: Monitor
    retraining: Retraining
    rollout: Rollout
    refresh: Callable[[Context, datetime], None]

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return self.monitor.endpoint
