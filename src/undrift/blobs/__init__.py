"""Bytes: where they are kept, and the versioned, content-addressed store that stands on top.

A *byte store* keeps bytes under keys: a local folder, an S3 bucket, memory (`open_store`). A `Repository` over any of
them holds, once for all, what undrift keeps: *objects* addressed by the BLAKE3 hash of their bytes, *trees* of
objects by folder, *commits* of trees, and *refs*: names that are moved from one commit to the next. Objects never
change, equal bytes are kept once, every read is verified, and only refs move, by compare-and-set.

Nothing here knows what the bytes mean. Keys and paths are labels made by undrift and checked in one place
(`undrift.blobs.names`): no caller names a location.
"""

from __future__ import annotations

from undrift.blobs.commits import Commit, Commits
from undrift.blobs.names import parse_path
from undrift.blobs.objects import Objects
from undrift.blobs.packs import FRAME_HEAD, PACKED_BYTES, frame
from undrift.blobs.ports import ByteStore
from undrift.blobs.refs import Refs
from undrift.blobs.repository import Repository
from undrift.blobs.stores import open_store
from undrift.blobs.trees import Entry, Source, Tree, Trees
from undrift.blobs.uploads import Part, Uploads

__all__ = [
    "FRAME_HEAD",
    "PACKED_BYTES",
    "ByteStore",
    "Commit",
    "Commits",
    "Entry",
    "Objects",
    "Part",
    "Refs",
    "Repository",
    "Source",
    "Tree",
    "Trees",
    "Uploads",
    "frame",
    "open_store",
    "parse_path",
]
