"""undrift keeps machine-learning models right in production.

Everything is imported when it is first used, so that ``import undrift`` costs little.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from undrift.client import Client, connect
    from undrift.project import (
        Project,
        at_least,
        beats_champion,
        canary,
        drift,
        no_segment_worse_than,
        performance,
        quality,
        shadow,
    )
    from undrift.recorder import run

__version__ = "0.1.0"

__all__ = [
    "Client",
    "Project",
    "__version__",
    "at_least",
    "beats_champion",
    "canary",
    "connect",
    "drift",
    "no_segment_worse_than",
    "performance",
    "quality",
    "run",
    "shadow",
]

_HOMES = {"Client": "undrift.client", "connect": "undrift.client", "run": "undrift.recorder"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'undrift' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "undrift.project")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
