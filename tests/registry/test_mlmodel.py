from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undrift.core.errors import Invalid
from undrift.registry.mlmodel import read_mlmodel, signature_gaps, signature_of_mlmodel, unsafe_because


def flavours(**said):
    return {"flavors": {name.replace("__", "."): facts for name, facts in said.items()}}


def columns(*given):
    return {"inputs": json.dumps(given), "outputs": json.dumps([{"type": "double"}])}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: &x [1]\nb: *x", "tags or anchors"),
        (b"a: !!python/object/apply:os.system [ls]", "tags or anchors"),
        (b"a: !!str x", "tags or anchors"),
        (b"- 1", "no mapping"),
        (b"", "no mapping"),
        (b"a: 1\na: 2", "twice"),
        (b"a: 1\n---\nb: 2", "several documents"),
        (b"? [1]\n: 2", "no text"),
        (b"[" * 200, "too deeply"),
        (b"a: {" * 200, "too deeply"),
        (b"a: [1", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"a: '" + b"x" * 1_000_000 + b"'", "at most 1000000 are read"),
    ],
)
def test_a_file_that_asks_for_more_than_plain_facts_is_refused(text, said):
    with pytest.raises(Invalid, match=said):
        read_mlmodel(text)


def test_values_stay_texts_and_nothing_is_nothing():
    found = read_mlmodel(b"a: null\nb: 'null'\nc: 1.50\nd: {e: [yes, ~]}\nf:\n")
    assert found == {"a": None, "b": "null", "c": "1.50", "d": {"e": ["yes", None]}, "f": None}


@given(
    st.recursive(
        st.text(st.characters(codec="ascii", min_codepoint=32), max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4),
        max_leaves=12,
    ).map(lambda value: {"top": value})
)
def test_what_is_written_as_text_is_read_as_it_was(value):
    # JSON with quoted texts is YAML, too.
    assert read_mlmodel(json.dumps(value).encode()) == value


def test_a_column_that_may_be_left_out_is_nullable():
    raw = columns(
        {"type": "double", "name": "a", "required": False},
        {"type": "float", "name": "b", "required": True},
        {"type": "long", "name": "c"},
        {"type": "integer", "name": "d", "optional": True},
        {"type": "boolean", "name": "e", "required": True},
        {"type": "string", "name": "f", "required": False},
    )
    found, kept = signature_of_mlmodel({"signature": raw})
    assert [(one.name, one.type, one.nullable) for one in found.inputs] == [
        ("a", "float", True),
        ("b", "float", False),
        ("c", "int", False),
        ("d", "int", True),
        ("e", "bool", False),
        ("f", "string", True),
    ]
    assert (found.task, found.output, kept) == ("regression", "prediction", raw)
    assert signature_gaps(raw) == []


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"inputs": '[{"type": "datetime", "name": "at"}]', "outputs": "[]"}, "input 'at' of type datetime"),
        ({"inputs": '[{"type": "double"}]', "outputs": "[]"}, "input without a name of type double"),
        ({"inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]'}, "of type tensor"),
        ({"inputs": '[{"type":"long","name":"a"},{"type":"long","name":"a"}]'}, "two inputs have the same name"),
        ({"inputs": "no json"}, "names no inputs"),
        ({"inputs": "[" * 9_000}, "names no inputs"),
        ({}, "names no inputs"),
        ({"inputs": "[1]"}, "input that is no column"),
    ],
)
def test_a_signature_that_does_not_fit_is_kept_and_its_gaps_are_named(raw, said):
    found, kept = signature_of_mlmodel({"signature": raw})
    assert (found, kept) == (None, raw)
    assert any(said in gap for gap in signature_gaps(raw))


@pytest.mark.parametrize(
    ("outputs", "task", "gap"),
    [
        ('[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1]}}]', "regression", None),
        ('[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]', "other", "is not one number"),
        ('[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]', "other", "is not one number"),
        ('[{"type": "long", "name": "label"}]', "other", "is not one number"),
        ('[{"type": "double"}, {"type": "double"}]', "other", "is not one number"),
        (None, "other", "does not say what the model gives"),
    ],
)
def test_inputs_are_known_even_when_what_a_model_gives_is_not(outputs, task, gap):
    raw = columns({"type": "double", "name": "a", "required": False}) | {"outputs": outputs}
    found, _ = signature_of_mlmodel({"signature": raw})
    assert (found.task, found.inputs[0].nullable) == (task, True)
    assert [gap in one for one in signature_gaps(raw)] == ([] if gap is None else [True])


def test_parameters_are_named_as_unchecked():
    raw = columns({"type": "double", "name": "a"}) | {"params": '[{"name": "p", "type": "double", "default": 1}]'}
    assert signature_gaps(raw) == ["it takes parameters beside the columns, which nothing checks"]


@pytest.mark.parametrize(
    "mlmodel",
    [
        flavours(onnx={"data": "model.onnx"}, python_function={"loader_module": "mlflow.onnx"}),
        flavours(xgboost={"model_class": "xgboost.core.Booster"}, python_function={"loader_module": "mlflow.xgboost"}),
        flavours(xgboost={"data": "model.xgb"}),
        flavours(lightgbm={"model_class": "lightgbm.basic.Booster"}),
        flavours(lightgbm={"data": "model.lgb"}),
        flavours(catboost={"save_format": "cbm"}, python_function={"loader_module": "mlflow.catboost", "code": None}),
        flavours(sklearn={"serialization_format": "skops", "skops_trusted_types": None}),
    ],
)
def test_flavours_whose_loaders_run_no_code_are_safe(mlmodel):
    assert unsafe_because("mlflow", ["MLmodel", "model.x"], mlmodel) == ()


@pytest.mark.parametrize(
    ("mlmodel", "said"),
    [
        (flavours(python_function={"loader_module": "mlflow.pyfunc.model"}), "loader is 'mlflow.pyfunc.model'"),
        (flavours(python_function={"loader_module": "os"}), "loader is 'os'"),
        (flavours(python_function={}), "loader is 'None'"),
        # scikit-learn's loader without its flavour takes any file for a pickle.
        (flavours(python_function={"loader_module": "mlflow.sklearn", "model_path": "model.txt"}), "mlflow.sklearn"),
        (flavours(sklearn={"serialization_format": "cloudpickle"}), "kept as cloudpickle"),
        (flavours(sklearn={}), "kept as pickle"),
        (flavours(sklearn="skops"), "kept as pickle"),
        (flavours(sklearn={"serialization_format": "skops", "skops_trusted_types": ["os.system"]}), "names itself"),
        (flavours(lightgbm={"model_class": "lightgbm.sklearn.LGBMClassifier", "data": "model.txt"}), "is a pickle"),
        (flavours(xgboost={"model_class": "subprocess.Popen"}), "is not of xgboost"),
        (flavours(onnx={"code": "code"}), "brings code along"),
        (
            flavours(onnx={}, python_function={"loader_module": "mlflow.onnx", "model_code_path": "m.txt"}),
            "brings code",
        ),
        (flavours(pytorch={}), "flavour 'pytorch' is not known"),
        (flavours(onnx={}, tensorflow={}), "flavour 'tensorflow' is not known"),
        ({"flavors": ["onnx"]}, "names no flavour"),
        ({}, "names no flavour"),
    ],
)
def test_flavours_that_could_run_code_are_named(mlmodel, said):
    assert any(said in one for one in unsafe_because("mlflow", ["MLmodel"], mlmodel))


@pytest.mark.parametrize(
    "name", ["m.pkl", "m.PICKLE", "a/b.joblib", "x.cloudpickle", "w.pt", "w.npy", "code.py", "l.so"]
)
def test_files_that_could_run_code_are_told_by_their_names(name):
    assert unsafe_because("onnx", ["model.onnx", name], None)


def test_a_thousand_reasons_are_told_in_twenty():
    found = unsafe_because("pickle", [f"{number}.pkl" for number in range(1000)], None)
    assert len(found) == 21
    assert found[-1] == "and 981 more reasons"
