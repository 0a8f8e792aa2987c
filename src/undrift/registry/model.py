"""The registry's nouns: signature, model version, alias move."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

__all__ = ["AliasMove", "Field", "FieldType", "Model", "ModelVersion", "Signature"]

FieldType = Literal["float", "int", "bool", "string"]


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One named input of a model; whether it may be missing is part of its type.

    Attributes:
        name: Its name.
        type: What its values are.
        nullable: Whether a value may be missing.
        categories: For strings: the values seen in training, in the order of their codes.
    """

    name: str
    type: FieldType
    nullable: bool = False
    categories: tuple[str, ...] = ()


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model takes and gives.

    Attributes:
        inputs: Its columns, in the order the model was trained with.
        task: ``classification`` gives the probability of the positive class, ``regression`` a number.
        output: Name of the column it gives.
    """

    inputs: tuple[Field, ...]
    task: Literal["classification", "regression"]
    output: str


class Model(msgspec.Struct, frozen=True):
    """A name under which versions gather, with the owner who hears when something is wrong."""

    id: str
    project: str
    name: str
    owner: str
    created_at: datetime


class ModelVersion(msgspec.Struct, frozen=True):
    """An immutable version of a model, bound to what it was made from.

    Attributes:
        id: Its id.
        project: Whose it is.
        model: Name of the model.
        number: 1, 2, 3 … within the model.
        run_id: The run that trained it: code, parameters, environment, inputs.
        artifact: Tree in the store with ``model.onnx`` and ``signature.json``.
        format: How the bytes are to be read.
        signature: What it takes and gives.
        training: Datasets with version, window, rows and what was left out.
        metrics: Evaluation at registration, by name.
        reference_profile: Object with the profile of what it was trained on; drift is measured against it.
        created_at: When it was registered, in event time.
        created_by: Who registered it.
        state: ``registered``, or ``retired`` with a reason.
        state_reason: Why it was retired.
    """

    id: str
    project: str
    model: str
    number: int
    run_id: str
    artifact: str
    format: Literal["onnx"]
    signature: Signature
    training: dict[str, Any]
    metrics: dict[str, float]
    reference_profile: str | None
    created_at: datetime
    created_by: str
    state: Literal["registered", "retired"] = "registered"
    state_reason: str = ""


class AliasMove(msgspec.Struct, frozen=True):
    """One entry of the history of what a name such as ``champion`` pointed to.

    Attributes:
        model: Name of the model.
        alias: The name that was moved.
        number: The version it points to from then on.
        previous: The version it pointed to before.
        at: Since when, in event time.
        actor: Who moved it.
        reason: Why, in a sentence.
        evidence: What it was based on: comparisons, verdicts, incident.
    """

    id: str
    project: str
    model: str
    alias: str
    number: int
    previous: int | None
    at: datetime
    actor: str
    reason: str
    evidence: dict[str, Any]
