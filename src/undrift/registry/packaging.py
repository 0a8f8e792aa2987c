"""Turns what a training function returns into an artifact: ONNX and a signature, proven to give the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from undrift.core.context import Context
from undrift.core.errors import Invalid, Unavailable
from undrift.registry.model import Signature

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

__all__ = ["load_scorer", "package", "scorer"]

_OPSET = 15
_NAME = "model"
"""Without a name the converters make one up, and the same model would be another artifact each time."""
# Of scores below 1; of larger ones it is relative, as the precision of float32 is.
_TOLERANCE = 1e-4


def scorer(estimator: Any, task: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from a float32 matrix to the estimator's scores, of shape (rows,).

    The function raises Invalid when a classifier does not tell two classes apart.

    Raises:
        Invalid: The estimator predicts in no way known here.
    """
    import numpy as np  # noqa: PLC0415 - training only

    def positive(matrix: np.ndarray) -> np.ndarray:
        found = np.asarray(estimator.predict_proba(matrix), dtype=np.float64)
        if found.ndim != 2 or found.shape[1] != 2:
            raise Invalid(
                f"The {type(estimator).__name__} does not tell two classes apart: its answers have shape "
                f"{found.shape}.",
                next_step="Train a classification on labels 0 and 1, with both among them.",
            )
        return found[:, 1]

    if task == "classification" and hasattr(estimator, "predict_proba"):
        return positive
    if hasattr(estimator, "predict"):
        return lambda matrix: np.asarray(estimator.predict(matrix), dtype=np.float64).reshape(-1)
    raise Invalid(
        f"The training function returned {type(estimator).__name__}, which cannot predict.",
        next_step="Return a fitted LightGBM or scikit-learn model.",
    )


def package(ctx: Context, estimator: Any, signature: Signature, sample: np.ndarray) -> str:
    """Store an estimator as an artifact and return the digest of its tree.

    Args:
        ctx: Where to.
        estimator: A fitted LightGBM or scikit-learn model.
        signature: What it takes and gives.
        sample: Some encoded rows: the artifact must give the same scores for them, or nothing is stored.

    Raises:
        Invalid: The model cannot be converted, or the converted one answers differently.
        Unavailable: A library that is needed for it is not installed.
    """
    import numpy as np  # noqa: PLC0415 - training only

    model = _to_onnx(estimator, len(signature.inputs))
    session = _session(model)
    converted = _scores(session.run(None, {session.get_inputs()[0].name: sample})[-1])
    expected = scorer(estimator, signature.task)(sample)
    difference = float((np.abs(converted - expected) / np.maximum(np.abs(expected), 1.0)).max(initial=0.0))
    if not difference <= _TOLERANCE:
        raise Invalid(
            f"Converted to ONNX the model answers differently, by up to {difference:.2g}.",
            next_step="Train on float32 values, as they are given to the training function.",
        )
    return ctx.repository.trees.edit(None, {"model.onnx": model, "signature.json": msgspec.json.encode(signature)})


def load_scorer(ctx: Context, artifact: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from an encoded float32 matrix to the scores of a stored artifact, of shape (rows,).

    Raises:
        Corrupt: The artifact is missing or is not what was stored.
    """
    session = _session(ctx.repository.trees.get(artifact, "model.onnx"))
    name = session.get_inputs()[0].name
    return lambda matrix: _scores(session.run(None, {name: matrix})[-1])


def _scores(output: Any) -> np.ndarray:
    import numpy as np  # noqa: PLC0415 - training only

    scores = np.asarray(output, dtype=np.float64)
    return scores[:, -1] if scores.ndim == 2 else scores


def _to_onnx(estimator: Any, inputs: int) -> bytes:
    module = type(estimator).__module__.split(".")[0]
    if module not in {"lightgbm", "sklearn"}:
        raise Invalid(
            f"undrift cannot package a model of type {module}.{type(estimator).__name__}.",
            next_step="Return a fitted LightGBM or scikit-learn model from the training function.",
        )
    try:
        made = _converted(estimator, module, inputs)
    except ImportError as error:
        raise Unavailable(
            f"Packaging a {module} model needs {error.name}, which is not installed.",
            next_step="Run `pip install 'undrift[lightgbm]'`.",
        ) from None
    except Exception as error:
        # The converters have a dozen kinds of errors, with no common one, and long texts.
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise Invalid(
            f"The {type(estimator).__name__} cannot be converted to ONNX: {said}",
            next_step="Return a fitted model of a kind that converts, such as LightGBM's.",
        ) from error
    return bytes(made.SerializeToString())


def _converted(estimator: Any, module: str, inputs: int) -> Any:
    if module == "lightgbm":
        from onnxmltools import convert_lightgbm  # noqa: PLC0415 - an extra
        from onnxmltools.convert.common.data_types import FloatTensorType  # noqa: PLC0415

        types = [("features", FloatTensorType([None, inputs]))]
        return convert_lightgbm(estimator, _NAME, initial_types=types, zipmap=False, target_opset=_OPSET)
    from skl2onnx import convert_sklearn  # noqa: PLC0415 - an extra
    from skl2onnx.common.data_types import FloatTensorType as SklearnFloat  # noqa: PLC0415

    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    types = [("features", SklearnFloat([None, inputs]))]
    return convert_sklearn(estimator, _NAME, initial_types=types, options=options, target_opset=_OPSET)


def _session(model: bytes) -> Any:
    import onnxruntime  # noqa: PLC0415 - training only

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # Tensors in files beside the model are looked for where nothing is: a model names no files of this machine.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/nonexistent")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
