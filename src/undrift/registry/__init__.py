"""The registry: a history of model versions, and of what was in production when, by whom, why.

Words: *model*, *model version* (immutable; bound to run, data, signature), *signature* (named inputs with nullability),
*alias* (a name such as ``champion`` whose every move is kept with reason and evidence), *artifact* (its bytes in the
store). It is a log, not a pointer: "what served on 3 March" is a read.
"""

from undrift.registry.encoding import encode, encode_frame, encoder, signature_of
from undrift.registry.model import AliasMove, Field, Model, ModelVersion, Signature
from undrift.registry.operations import (
    FindAlias,
    FindVersion,
    ListModels,
    ListVersions,
    ModelSummary,
    MoveAlias,
    RegisterModel,
    RegisterVersion,
    RetireVersion,
    alias_history,
    find_alias,
    find_version,
    list_models,
    list_versions,
    move_alias,
    register_model,
    register_version,
    retire_version,
)
from undrift.registry.packaging import load_scorer, package, scorer

__all__ = [
    "AliasMove",
    "Field",
    "FindAlias",
    "FindVersion",
    "ListModels",
    "ListVersions",
    "Model",
    "ModelSummary",
    "ModelVersion",
    "MoveAlias",
    "RegisterModel",
    "RegisterVersion",
    "RetireVersion",
    "Signature",
    "alias_history",
    "encode",
    "encode_frame",
    "encoder",
    "find_alias",
    "find_version",
    "list_models",
    "list_versions",
    "load_scorer",
    "move_alias",
    "package",
    "register_model",
    "register_version",
    "retire_version",
    "scorer",
    "signature_of",
]
