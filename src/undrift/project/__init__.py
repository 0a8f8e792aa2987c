"""What users write: a project with its datasets, feature views and models, each declared once in plain Python.

Words: *project*, *dataset*, *feature view*, *model*. Declaring does nothing by itself; a worker applies the project and
runs its loop. Each part is a value of the room that owns it.
"""

from undrift.project.build import Built, build, load_project, snapshot_code
from undrift.project.declare import (
    DatasetDeclaration,
    ModelDeclaration,
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

__all__ = [
    "Built",
    "DatasetDeclaration",
    "ModelDeclaration",
    "Project",
    "at_least",
    "beats_champion",
    "build",
    "canary",
    "drift",
    "load_project",
    "no_segment_worse_than",
    "performance",
    "quality",
    "shadow",
    "snapshot_code",
]
