"""Models in process: an artifact is verified, loaded into ONNX Runtime, and asked one question before it serves.

Only ``model.onnx`` and ``signature.json`` are ever read, and the session is told that there is no folder beside the
model: one whose tensors lie in other files does not load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from undrift.core.errors import Corrupt
from undrift.registry import Signature

if TYPE_CHECKING:
    import numpy as np

__all__ = ["MODEL_FILE", "SIGNATURE_FILE", "Runtime"]

MODEL_FILE = "model.onnx"
SIGNATURE_FILE = "signature.json"

_NO_FOLDER = "/nonexistent/undrift-models-bring-no-other-files"


class Runtime:
    """A loaded model.

    Args:
        artifact: The artifact's digest; errors name it.
        model: The bytes of ``model.onnx``.
        signature: The bytes of ``signature.json``.

    Attributes:
        artifact: The artifact's digest.
        signature: What it takes and gives.

    Raises:
        Corrupt: It cannot be served; the sentence says why.
    """

    def __init__(self, artifact: str, model: bytes, signature: bytes) -> None:
        import numpy as np  # noqa: PLC0415 - the hub opens this room without serving
        import onnxruntime  # noqa: PLC0415 - the same

        self.artifact = artifact
        try:
            self.signature = msgspec.json.decode(signature, type=Signature)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _unfit(artifact, f"its {SIGNATURE_FILE} cannot be read ({error})") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NO_FOLDER)
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - the library has a dozen kinds, with no common one
            raise _unfit(artifact, f"ONNX Runtime refuses its {MODEL_FILE} ({_first_line(error)})") from None
        self._input = self._one_input(len(self.signature.inputs))
        self._outputs = [self._session.get_outputs()[-1].name]
        self._column: int | None = None
        # A real question, before anybody else asks one: a model that loads can still fail to answer.
        probe = np.zeros((2, len(self.signature.inputs)), dtype=np.float32)
        try:
            answer = self._session.run(self._outputs, {self._input: probe})[0]
        except Exception as error:  # noqa: BLE001 - as above
            raise _unfit(artifact, f"it fails on a row of zeros ({_first_line(error)})") from None
        self._column = self._score_column(answer)

    def scores(self, matrix: np.ndarray) -> list[float]:
        """Score float32 rows of shape (rows, inputs); a classifier gives the probability of the positive class."""
        answer = self._session.run(self._outputs, {self._input: matrix})[0]
        if self._column is not None:
            answer = answer[:, self._column]
        scores: list[float] = answer.tolist()
        return scores

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Score float32 rows of shape (rows, inputs); returns float64 of shape (rows,), as `scores` does."""
        import numpy as np  # noqa: PLC0415 - see above

        return np.array(self.scores(matrix), dtype=np.float64)

    def _one_input(self, width: int) -> str:
        inputs = self._session.get_inputs()
        first = inputs[0] if len(inputs) == 1 else None
        shape = list(first.shape) if first is not None else []
        if first is None or first.type != "tensor(float)" or len(shape) != 2 or isinstance(shape[0], int):
            said = ", ".join(f"{one.name}: {one.type} {one.shape}" for one in inputs[:4])
            raise _unfit(self.artifact, f"it must take one float32 tensor of shape [rows, inputs], not {said}")
        if isinstance(shape[1], int) and shape[1] != width:
            raise _unfit(self.artifact, f"it takes {shape[1]} inputs, and its signature names {width}")
        return str(first.name)

    def _score_column(self, answer: Any) -> int | None:
        shape = tuple(getattr(answer, "shape", ()))
        if getattr(answer, "dtype", None) is not None and answer.dtype.kind == "f":
            if shape == (2,):
                return None
            if shape == (2, 1):
                return 0
            if shape == (2, 2) and self.signature.task == "classification":
                return 1
        raise _unfit(
            self.artifact,
            f"its last output for 2 rows must be floats of shape (2,), (2, 1) or, for a classifier, (2, 2), "
            f"not {type(answer).__name__} of shape {shape}",
        )


def _unfit(artifact: str, reason: str) -> Corrupt:
    return Corrupt(
        f"Artifact {artifact} cannot be served: {reason}.",
        next_step="Package the model again and register it as a new version; routes to others are not touched.",
        artifact=artifact,
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
