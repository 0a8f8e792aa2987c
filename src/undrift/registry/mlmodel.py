"""What the ``MLmodel`` file of an MLflow model says: its signature, and whether loading it could run any code.

The file comes from outside. It is read as plain text values from the events of a YAML parser: nothing is made of tags,
nothing refers to anything else, and both size and depth have limits.
"""

from __future__ import annotations

from typing import Any

import msgspec

from undrift.core.errors import Invalid
from undrift.registry.model import SAFE_FORMATS, Field, FieldType, ModelFormat, Signature

__all__ = ["MLMODEL", "detect_format", "read_mlmodel", "signature_gaps", "signature_of_mlmodel", "unsafe_because"]

MLMODEL = "MLmodel"
"""Name of the file that makes a folder a model of MLflow."""

_LARGEST_BYTES = 1_000_000
_DEEPEST = 30

_FILES: dict[str, ModelFormat] = {
    "model.onnx": "onnx",
    "model.skops": "skops",
    "model.safetensors": "safetensors",
    "model.lgb": "lightgbm",
    "model.ubj": "xgboost",
    "model.xgb": "xgboost",
    "model.cbm": "catboost",
    "model.cb": "catboost",
    "model.pkl": "pickle",
    "model.pickle": "pickle",
    "model.joblib": "pickle",
}

_CODE_BY_ENDING = {
    ".pkl": "a pickle",
    ".pickle": "a pickle",
    ".joblib": "a pickle",
    ".cloudpickle": "a pickle",
    ".dill": "a pickle",
    ".pt": "a PyTorch file, which may hold a pickle",
    ".pth": "a PyTorch file, which may hold a pickle",
    ".ckpt": "a checkpoint, which may hold a pickle",
    ".npy": "an array file, which may hold a pickle",
    ".keras": "a Keras file, which may hold code",
    ".h5": "a Keras file, which may hold code",
    ".py": "Python code",
    ".pyc": "Python code",
    ".pyd": "machine code",
    ".so": "machine code",
    ".dll": "machine code",
    ".whl": "a package with code",
    ".jar": "a package with code",
}

# What the loaders of these flavours do with a file that they are given by its name was read in their sources.
_FLAVOURS = frozenset({"python_function", "onnx", "lightgbm", "xgboost", "catboost", "sklearn"})
_LOADERS = frozenset({"mlflow.onnx", "mlflow.lightgbm", "mlflow.xgboost", "mlflow.catboost", "mlflow.sklearn"})

_TYPES: dict[str, FieldType] = {
    "boolean": "bool",
    "integer": "int",
    "long": "int",
    "float": "float",
    "double": "float",
    "string": "string",
}


def read_mlmodel(text: bytes) -> dict[str, Any]:
    """Read an ``MLmodel`` file: mappings, lists and texts; numbers stay the text they were written as.

    Raises:
        Invalid: It is too large or too deep, is not YAML, or holds what plain facts have no need of: references and
            tags.
    """
    import yaml  # noqa: PLC0415 - only for models of MLflow

    if len(text) > _LARGEST_BYTES:
        raise Invalid(f"The MLmodel file has {len(text)} bytes; at most {_LARGEST_BYTES} are read.")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        made = _assemble(yaml, yaml.parse(text, Loader=loader))
    except (yaml.YAMLError, ValueError) as error:
        said = (str(error).strip().splitlines() or ["it is no YAML"])[0]
        raise Invalid(f"The MLmodel file cannot be read: {said[:200]}.") from None
    if not isinstance(made, dict):
        raise Invalid("The MLmodel file holds no mapping.")
    return made


def _assemble(yaml: Any, events: Any) -> Any:
    """Put a document together from its events, without calling itself: depth is data here."""
    top: list[Any] = []
    open_: list[tuple[Any, list[str]]] = [(top, [])]
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it refers to other parts of itself")  # noqa: TRY004 - what is wrong is the file
        if isinstance(event, yaml.NodeEvent) and (getattr(event, "tag", None) or event.anchor):
            raise ValueError("it holds tags or anchors")
        if isinstance(event, yaml.ScalarEvent):
            empty = event.implicit[0] and event.value in {"", "null", "Null", "NULL", "~"}
            _put(open_[-1], None if empty else event.value)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            made: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            _put(open_[-1], made)
            open_.append((made, []))
            if len(open_) > _DEEPEST:
                raise ValueError("it is nested too deeply")
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            open_.pop()
        elif isinstance(event, yaml.DocumentStartEvent) and top:
            raise ValueError("it holds several documents")
    return top[0] if top else None


def _put(place: tuple[Any, list[str]], value: Any) -> None:
    holder, keys = place
    if isinstance(holder, list):
        holder.append(value)
    elif not keys:
        if not isinstance(value, str):
            raise ValueError("a key in it is no text")  # noqa: TRY004 - what is wrong is the file
        if value in holder:
            raise ValueError(f"it says {value[:40]!r} twice")
        keys.append(value)
    else:
        holder[keys.pop()] = value


def detect_format(paths: list[str]) -> ModelFormat | None:
    """Return the format that the files of a version are of; None when they do not tell.

    >>> detect_format(["MLmodel", "model.pkl"]), detect_format(["model.onnx"]), detect_format(["weights.bin"])
    ('mlflow', 'onnx', None)
    """
    if MLMODEL in paths:
        return "mlflow"
    return next((_FILES[path] for path in sorted(paths) if path in _FILES), None)


def unsafe_because(
    format_: ModelFormat | None, paths: list[str], mlmodel: dict[str, Any] | None, problem: str = ""
) -> tuple[str, ...]:
    """Say why loading these bytes could run any code; nothing when it cannot.

    What is not known to be safe is not safe: other names of the same trick cannot get around it.

    Args:
        format_: How the bytes are to be read.
        paths: The files.
        mlmodel: What the ``MLmodel`` file says; None when there is none.
        problem: Why it could not be read.

    >>> unsafe_because("onnx", ["model.onnx", "signature.json"], None)
    ()
    >>> unsafe_because("mlflow", ["MLmodel", "model/python_model.pkl"], {"flavors": {"onnx": {}}})
    ('model/python_model.pkl is a pickle',)
    """
    reasons = []
    for path in paths:
        ending = "." + path.rpartition("/")[2].lower().rpartition(".")[2]
        if ending in _CODE_BY_ENDING:
            reasons.append(f"{path} is {_CODE_BY_ENDING[ending]}")
    if format_ is None:
        reasons.append("nobody said how its bytes are to be read")
    elif format_ == "pickle":
        reasons.append("a pickle runs what it was told to when it is loaded")
    elif format_ == "mlflow":
        if mlmodel is None:
            reasons.append(problem or "it has no MLmodel file that says how it is loaded")
        else:
            reasons += _unsafe_flavours(mlmodel)
    elif format_ not in SAFE_FORMATS:
        reasons.append(f"{format_} is not known to be safe")
    # One sentence for a few files is enough; a folder may hold thousands.
    return (*reasons[:20], f"and {len(reasons) - 20} more reasons") if len(reasons) > 20 else tuple(reasons)


def _unsafe_flavours(mlmodel: dict[str, Any]) -> list[str]:
    flavours = mlmodel.get("flavors")
    if not isinstance(flavours, dict) or not flavours:
        return ["its MLmodel file names no flavour"]
    reasons = []
    for name, said in flavours.items():
        told = said if isinstance(said, dict) else {}
        if name not in _FLAVOURS:
            reasons.append(f"its flavour {name[:60]!r} is not known to load without running code")
            continue
        if name == "python_function":
            loader = str(told.get("loader_module"))
            # Without a flavour of its own, scikit-learn's loader takes any file for a pickle.
            if loader not in _LOADERS or loader.removeprefix("mlflow.") not in flavours:
                reasons.append(f"its python_function loader is {loader[:60]!r}, which is not known to run no code")
        reasons += [
            f"its flavour {name} brings code along: {str(told[key])[:60]!r}"
            for key in ("code", "model_code_path", "python_model")
            if told.get(key)
        ]
        reasons += _unsafe_class(name, told)
    return reasons


def _unsafe_class(name: str, told: dict[str, Any]) -> list[str]:
    serialization = told.get("serialization_format")
    if name == "sklearn":
        if (serialization or "pickle") != "skops":
            return [f"its scikit-learn model is kept as {serialization or 'pickle'}"]
        if told.get("skops_trusted_types"):
            return ["its skops file is loaded with types that it names itself"]
    class_ = str(told.get("model_class") or "")
    if name == "lightgbm" and class_ not in {"", "lightgbm.basic.Booster"}:
        # Whatever is no booster is handed to scikit-learn's loader.
        return (
            [] if serialization == "skops" and not told.get("skops_trusted_types") else [f"{class_[:60]} is a pickle"]
        )
    if name == "xgboost" and not (class_ or "xgboost.").startswith("xgboost."):
        return [f"its model class {class_[:60]!r} is not of xgboost"]
    return []


def signature_of_mlmodel(mlmodel: dict[str, Any]) -> tuple[Signature | None, dict[str, Any] | None]:
    """Return the signature an ``MLmodel`` file gives, with nullability; and the same word for word.

    A column that may be left out (``required: false``) is nullable. What undrift's signature has no words for stays
    in the second answer alone; `signature_gaps` names it.
    """
    raw = mlmodel.get("signature")
    if not isinstance(raw, dict):
        return None, None
    inputs = _columns(raw.get("inputs"))
    fields = _fields(inputs) if inputs else None
    if not fields:
        return None, raw
    output, number = _output(_columns(raw.get("outputs")))
    return Signature(fields, "regression" if number else "other", output), raw


def signature_gaps(raw: dict[str, Any]) -> list[str]:
    """Say in words what of a signature, kept word for word, undrift cannot check."""
    gaps = []
    inputs = _columns(raw.get("inputs"))
    if not inputs:
        gaps.append("the MLmodel file names no inputs")
    elif _fields(inputs) is None:
        gaps += [f"input {_shown(one)}: nothing sent for it can be checked" for one in inputs if _field(one) is None]
        if not gaps:
            gaps.append("two inputs have the same name")
    outputs = _columns(raw.get("outputs"))
    if not outputs:
        gaps.append("the MLmodel file does not say what the model gives")
    elif not _output(outputs)[1]:
        shown = ", ".join(_shown(one) for one in outputs[:5])
        gaps.append(f"what it gives ({shown}) is not one number: answers are passed on unchecked")
    if _columns(raw.get("params")):
        gaps.append("it takes parameters beside the columns, which nothing checks")
    return gaps


def _columns(text: Any) -> list[Any]:
    if not isinstance(text, str):
        return []
    try:
        found = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) else []


def _field(column: Any) -> Field | None:
    if not isinstance(column, dict):
        return None
    name, type_ = column.get("name"), column.get("type")
    if not isinstance(name, str) or not name or not isinstance(type_, str) or type_ not in _TYPES:
        return None
    optional = column.get("optional") is True or column.get("required") is False
    return Field(name, _TYPES[type_], nullable=optional)


def _fields(columns: list[Any]) -> tuple[Field, ...] | None:
    fields = [_field(column) for column in columns]
    fitting = tuple(field for field in fields if field is not None)
    different = len({field.name for field in fitting}) == len(fields)
    return fitting if different else None


def _output(columns: list[Any]) -> tuple[str, bool]:
    """Return what the output is called, and whether it is one floating-point number."""
    if len(columns) != 1 or not isinstance(columns[0], dict):
        return "prediction", False
    column = columns[0]
    name = column.get("name")
    number = column.get("type") in {"float", "double"}
    if column.get("type") == "tensor" and isinstance(spec := column.get("tensor-spec"), dict):
        number = str(spec.get("dtype")).startswith("float") and spec.get("shape") in ([-1], [-1, 1])
    return name if isinstance(name, str) and name else "prediction", number


def _shown(column: Any) -> str:
    if not isinstance(column, dict):
        return "that is no column"
    name = repr(str(column["name"])[:60]) if column.get("name") else "without a name"
    return f"{name} of type {str(column.get('type'))[:20]}"
