"""Artifacts: the files of a run or of a logged model, each a label on an object in the store.

Words: *root* (the id of the run or the logged model that owns the files), *path* (the name of a file below its root;
only a label, never a place). The bytes are objects, kept once however many runs have them; a row appears in the moment
the upload is complete, so a cut upload shows nothing.
"""

from undrift.tracking.artifacts.model import (
    Artifact,
    ArtifactEntry,
    ArtifactPage,
    ArtifactTree,
    PutArtifact,
    RootOwner,
    check_artifact_path,
    check_root,
)
from undrift.tracking.artifacts.operations import (
    ArtifactTreeOf,
    DeleteArtifacts,
    FindArtifact,
    ListArtifacts,
    MissingObjects,
    PutArtifacts,
    artifact_tree,
    delete_artifacts,
    find_artifact,
    find_artifacts,
    list_artifacts,
    missing_objects,
    owner_of,
    put_artifacts,
    put_stored,
)

__all__ = [
    "Artifact",
    "ArtifactEntry",
    "ArtifactPage",
    "ArtifactTree",
    "ArtifactTreeOf",
    "DeleteArtifacts",
    "FindArtifact",
    "ListArtifacts",
    "MissingObjects",
    "PutArtifact",
    "PutArtifacts",
    "RootOwner",
    "artifact_tree",
    "check_artifact_path",
    "check_root",
    "delete_artifacts",
    "find_artifact",
    "find_artifacts",
    "list_artifacts",
    "missing_objects",
    "owner_of",
    "put_artifacts",
    "put_stored",
]
