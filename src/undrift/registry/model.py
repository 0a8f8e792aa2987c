"""The registry's nouns: model, signature, version, moves of aliases and stages, approvals; and what may be a name."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Any, Literal, get_args

import msgspec

from undrift.core.errors import Conflict, Invalid

__all__ = [
    "SAFE_FORMATS",
    "AliasMove",
    "ApprovalPolicy",
    "ApprovalRequest",
    "ApprovalStatus",
    "Decision",
    "Field",
    "FieldType",
    "Model",
    "ModelFormat",
    "ModelVersion",
    "Signature",
    "Stage",
    "StageMove",
    "Trust",
    "VersionState",
    "check_alias",
    "check_model_name",
    "check_stage",
    "check_tag",
    "check_text",
]

FieldType = Literal["float", "int", "bool", "string"]
ModelFormat = Literal["onnx", "skops", "safetensors", "lightgbm", "xgboost", "catboost", "mlflow", "pickle"]
"""How the bytes of a version are to be read; ``mlflow`` is a folder with an ``MLmodel`` file."""
Stage = Literal["None", "Staging", "Production", "Archived"]
"""The stages of older MLflow clients; aliases took their place."""
VersionState = Literal["registered", "retired", "deleted"]

SAFE_FORMATS: frozenset[str] = frozenset({"onnx", "skops", "safetensors", "lightgbm", "xgboost", "catboost"})
"""Formats whose loaders run no code that the file brings along."""

_LONGEST_NAME = 250
_LONGEST_TEXT = 100_000
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")
_NUMBERED = re.compile(r"[vV][0-9]+")
_TAG_KEY = re.compile(r"[/\w.\- :]{1,250}")
# Control characters, halves of characters, and line breaks of other scripts.
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})


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
        task: ``classification`` gives the probability of the positive class, ``regression`` a number; of ``other`` only
            the inputs are known.
        output: Name of the column it gives.
    """

    inputs: tuple[Field, ...]
    task: Literal["classification", "regression", "other"]
    output: str


class Model(msgspec.Struct, frozen=True):
    """A name under which versions gather, with the owner who hears when something is wrong.

    Attributes:
        id: Its id, which stays when it is renamed.
        project: Whose it is.
        name: Its name, unique in the project, in Unicode's composed form (NFC).
        owner: Who hears when something is wrong; empty when nobody was named.
        created_at: When it was made known.
        description: What it is for.
        tags: Words about it.
        updated_at: When it was last described, renamed, or got, lost or staged a version.
    """

    id: str
    project: str
    name: str
    owner: str
    created_at: datetime
    description: str = ""
    tags: dict[str, str] = {}
    updated_at: datetime | None = None


class Trust(msgspec.Struct, frozen=True):
    """That a person answers for bytes that could run any code when they are loaded."""

    by: str
    at: datetime
    reason: str


class ModelVersion(msgspec.Struct, frozen=True):
    """An immutable version of a model, bound to what it was made from.

    Only description, tags, stage, trust and state change after it was registered.

    Attributes:
        id: Its id.
        project: Whose it is.
        model: Name of the model.
        number: 1, 2, 3 … within the model; never given again.
        run_id: The run that made it: code, parameters, environment, inputs.
        artifact: Tree in the store with its files; None when they are kept elsewhere.
        format: How the bytes are to be read; None when nobody said and the files do not tell.
        signature: What it takes and gives; None when nobody said: nothing it is sent can be checked.
        training: Datasets with version, window, rows and what was left out.
        metrics: Evaluation at registration, by name.
        reference_profile: Object with the profile of what it was trained on; drift is measured against it.
        created_at: When it was registered, in event time.
        created_by: Who registered it.
        state: ``registered``, or ``retired`` with a reason. Only histories still show a ``deleted`` one.
        state_reason: Why it was retired or deleted.
        raw_signature: The signature of an ``MLmodel`` file, word for word.
        source: Where a client said the files come from, such as ``runs:/…/model``.
        run_link: Where a client said the run can be looked at.
        logged_model_id: The logged model it was made of.
        key: Names this registration for whoever does it again: the same key is the same version.
        description: What is special about it.
        tags: Words about it.
        aliases: The names that point to it now.
        stage: Its stage now.
        updated_at: When its description, stage or state last changed.
        unsafe: Why loading its bytes could run any code; empty for what cannot.
        trust: Who answers for its bytes.
    """

    id: str
    project: str
    model: str
    number: int
    run_id: str | None
    artifact: str | None
    format: ModelFormat | None
    signature: Signature | None
    training: dict[str, Any]
    metrics: dict[str, float]
    reference_profile: str | None
    created_at: datetime
    created_by: str
    state: VersionState = "registered"
    state_reason: str = ""
    raw_signature: dict[str, Any] | None = None
    source: str = ""
    run_link: str = ""
    logged_model_id: str | None = None
    key: str | None = None
    description: str = ""
    tags: dict[str, str] = {}
    aliases: tuple[str, ...] = ()
    stage: Stage = "None"
    updated_at: datetime | None = None
    unsafe: tuple[str, ...] = ()
    trust: Trust | None = None

    @property
    def contract(self) -> Signature:
        """The signature, for what cannot do without one.

        Raises:
            Conflict: It has none.
        """
        if self.signature is None:
            raise Conflict(
                f"Version {self.number} of {self.model!r} has no signature: nothing it is sent could be checked.",
                next_step="Register it again with a signature that names its inputs.",
            )
        return self.signature

    @property
    def files(self) -> str:
        """The tree with its files, for what cannot do without them.

        Raises:
            Conflict: They are not in the store.
        """
        if self.artifact is None:
            raise Conflict(
                f"The files of version {self.number} of {self.model!r} are not in the store.",
                next_step="Upload them, and register the version with their tree.",
                source=self.source,
            )
        return self.artifact


class AliasMove(msgspec.Struct, frozen=True):
    """One entry of the history of what a name such as ``champion`` pointed to.

    Attributes:
        id: Its id.
        project: Whose the model is.
        model: Name of the model.
        alias: The name that was moved.
        number: The version it points to from then on; None when it was taken away.
        previous: The version it pointed to before.
        at: Since when, in event time.
        actor: Who moved it.
        reason: Why, in a sentence.
        evidence: What it was based on: comparisons, verdicts, incident.
        until: When the next move came; None while it stands.
    """

    id: str
    project: str
    model: str
    alias: str
    number: int | None
    previous: int | None
    at: datetime
    actor: str
    reason: str
    evidence: dict[str, Any]
    until: datetime | None = None


class StageMove(msgspec.Struct, frozen=True):
    """One entry of the history of a version's stage; see `AliasMove`."""

    id: str
    project: str
    model: str
    number: int
    stage: Stage
    previous: Stage
    at: datetime
    actor: str
    reason: str
    until: datetime | None = None


class ApprovalPolicy(msgspec.Struct, frozen=True):
    """How many persons have to agree before an alias moves.

    Attributes:
        id: Its id.
        project: Where it holds.
        model: Of which model; None for all models of the project that have none of their own.
        alias: Of which alias.
        needed: How many second persons have to approve; 0 asks nobody.
        at: Since when.
        actor: Who decided so.
        reason: Why.
        until: When another one took its place; None while it holds.
    """

    id: str
    project: str
    model: str | None
    alias: str
    needed: int
    at: datetime
    actor: str
    reason: str
    until: datetime | None = None


class Decision(msgspec.Struct, frozen=True):
    """What one person decided about a request for approval, and why.

    Attributes:
        actor: Who.
        approve: Whether they agreed.
        reason: Why.
        at: When.
        evidence: What they went by.
    """

    actor: str
    approve: bool
    reason: str
    at: datetime
    evidence: dict[str, Any] = {}


class ApprovalRequest(msgspec.Struct, frozen=True):
    """That somebody wants an alias to point to a version, and what others said to it.

    Attributes:
        id: Its id.
        project: Whose the model is.
        model: Name of the model.
        number: The version.
        alias: Where it shall stand.
        asked_by: Who asked.
        at: When.
        reason: Why.
        evidence: What speaks for it.
        state: ``open``, ``refused``, or ``approved`` by as many as the policy asks for.
        decisions: What each person decided, oldest first.
    """

    id: str
    project: str
    model: str
    number: int
    alias: str
    asked_by: str
    at: datetime
    reason: str
    evidence: dict[str, Any]
    state: Literal["open", "approved", "refused"]
    decisions: tuple[Decision, ...] = ()


class ApprovalStatus(msgspec.Struct, frozen=True):
    """Whether an alias may move to a version.

    Attributes:
        needed: How many second persons the policy asks for.
        given: The approvals that count, one a person.
        allowed: Whether nothing is missing.
        sentence: What is missing, or that nothing is.
        request: The newest request; None when nobody asked.
    """

    needed: int
    given: tuple[Decision, ...]
    allowed: bool
    sentence: str
    request: ApprovalRequest | None = None


def check_model_name(name: str) -> str:
    """Return a model's name in Unicode's composed form, so that what looks the same is the same.

    Raises:
        Invalid: It is empty or longer than 250 characters, holds ``/``, ``:`` or control characters, or is ``.`` or
            ``..``.

    >>> check_model_name("Ve\u0301lo") == "V\u00e9lo"
    True
    """
    composed = unicodedata.normalize("NFC", name)
    if (
        not composed.strip()
        or len(composed) > _LONGEST_NAME
        or composed in {".", ".."}
        or any(one in "/:" or unicodedata.category(one) in _UNPRINTABLE for one in composed)
    ):
        shown = composed[:80].encode(errors="replace").decode()
        raise Invalid(
            f"{shown!r} cannot name a model.",
            next_step=f"Use 1 to {_LONGEST_NAME} characters without '/', ':' and control characters.",
        )
    return composed


def check_alias(alias: str) -> str:
    """Return an alias when it can be one.

    Raises:
        Invalid: It has other characters than letters, digits, ``_`` and ``-``, more than 255 of them or none, or it
            is a word that means a version already: ``latest``, or ``v`` and a number.

    >>> check_alias("champion")
    'champion'
    """
    if _ALIAS.fullmatch(alias) is None:
        raise Invalid(
            f"{alias[:80]!r} cannot name an alias.", next_step="Use 1 to 255 letters, digits, '_' and '-'.", alias=alias
        )
    if alias.lower() == "latest" or _NUMBERED.fullmatch(alias):
        raise Invalid(
            f"The alias {alias!r} is reserved: it says which version it means by itself.",
            next_step="Choose a word, such as champion.",
            alias=alias,
        )
    return alias


def check_stage(stage: str) -> Stage:
    """Return a stage as it is written, whatever the case of its letters.

    Raises:
        Invalid: There is no such stage.

    >>> check_stage("production")
    'Production'
    """
    for known in get_args(Stage):
        if known.lower() == stage.lower():
            found: Stage = known
            return found
    raise Invalid(
        f"Invalid Model Version stage: {stage[:80]}. Value must be one of {', '.join(get_args(Stage))}.",
        next_step="An alias says the same with a word of your own.",
    )


def check_tag(key: str, value: str) -> None:
    """Refuse a tag that could not be kept, or be found again.

    Raises:
        Invalid: The key is empty, longer than 250 characters, has others than letters, digits, ``_ - . : /`` and
            spaces, or is written as a path that leads somewhere else; or the value is longer than 100,000 characters.
    """
    parts = key.split("/")
    if _TAG_KEY.fullmatch(key) is None or any(part in {"", ".", ".."} for part in parts):
        raise Invalid(
            f"{key[:80]!r} cannot be the key of a tag.",
            next_step="Use 1 to 250 letters, digits, '_', '-', '.', ':' and spaces; '/' only between names.",
            key=key[:250],
        )
    check_text(value, f"the value of tag {key!r}")


def check_text(text: str, what: str, longest: int = _LONGEST_TEXT) -> str:
    """Return a text when it can be kept.

    Raises:
        Invalid: It is longer than it may be, or holds what no database keeps.
    """
    if len(text) > longest:
        raise Invalid(f"{what} has {len(text)} characters.", next_step=f"It may have at most {longest}.")
    if "\0" in text or any("\ud800" <= one <= "\udfff" for one in text):
        raise Invalid(f"{what} holds a character that cannot be kept.", next_step="Leave NUL and half characters out.")
    return text
