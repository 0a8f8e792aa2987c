from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from undrift.core.errors import Corrupt, Invalid, NotFound
from undrift.registry import Field, Signature, load_scorer, package, scorer


def signature(task="classification"):
    return Signature(tuple(Field(name, "float", nullable=True) for name in "abc"), task, "y")


@pytest.fixture(scope="module")
def matrix():
    return np.random.default_rng(5).normal(size=(400, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def labels(matrix):
    return (matrix[:, 0] + 0.5 * matrix[:, 1] > 0).astype(int)


def lightgbm(kind, **given):
    import lightgbm

    return getattr(lightgbm, kind)(n_estimators=10, n_jobs=1, verbose=-1, deterministic=True, **given)


def classifiers():
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return {
        "LightGBM": lightgbm("LGBMClassifier"),
        "logistic": LogisticRegression(),
        "forest": RandomForestClassifier(n_estimators=5, max_depth=4, n_jobs=1, random_state=0),
        "pipeline": make_pipeline(SimpleImputer(), LogisticRegression()),
    }


def regressors():
    from sklearn.linear_model import LinearRegression
    from sklearn.tree import DecisionTreeRegressor

    return {
        "LightGBM": lightgbm("LGBMRegressor"),
        "linear": LinearRegression(),
        "tree": DecisionTreeRegressor(max_depth=4, random_state=0),
    }


def package_and_load(ctx, estimator, task, matrix):
    return load_scorer(ctx, package(ctx, estimator, signature(task), matrix[:50]))


@pytest.mark.parametrize("name", ["LightGBM", "logistic", "forest", "pipeline"])
def test_a_classifier_gives_the_same_probabilities_after_storing(ctx, matrix, labels, name):
    estimator = classifiers()[name].fit(matrix, labels)
    loaded = package_and_load(ctx, estimator, "classification", matrix)
    expected = scorer(estimator, "classification")(matrix)
    np.testing.assert_allclose(loaded(matrix), expected, atol=1e-5)
    np.testing.assert_allclose(expected, estimator.predict_proba(matrix)[:, 1])


@pytest.mark.parametrize("scale", [1.0, 1e6], ids=["small numbers", "large numbers"])
@pytest.mark.parametrize("name", ["LightGBM", "linear", "tree"])
def test_a_regressor_gives_the_same_numbers_after_storing(ctx, matrix, name, scale):
    estimator = regressors()[name].fit(matrix, (2.0 + matrix[:, 0]) * scale)
    loaded = package_and_load(ctx, estimator, "regression", matrix)
    np.testing.assert_allclose(loaded(matrix), estimator.predict(matrix), rtol=1e-4, atol=1e-4 * scale)


def test_missing_values_are_scored_as_in_training(ctx, matrix, labels):
    holes = matrix.copy()
    holes[::3, 0] = math.nan
    estimator = lightgbm("LGBMClassifier").fit(holes, labels)
    loaded = load_scorer(ctx, package(ctx, estimator, signature(), holes[:50]))
    np.testing.assert_allclose(loaded(holes), scorer(estimator, "classification")(holes), atol=1e-5)


def test_an_artifact_is_a_tree_with_model_and_signature(ctx, matrix, labels):
    estimator = lightgbm("LGBMClassifier").fit(matrix, labels)
    artifact = package(ctx, estimator, signature(), matrix[:50])
    assert [path for path, _ in ctx.repository.trees.walk(artifact)] == ["model.onnx", "signature.json"]
    kept = msgspec.json.decode(ctx.repository.trees.get(artifact, "signature.json"), type=Signature)
    assert kept == signature()
    assert all(field.nullable for field in kept.inputs)
    assert package(ctx, estimator, signature(), matrix[:50]) == artifact, "the same model is the same artifact"


class Oracle:
    """Answers, but is of no kind that can be kept."""

    def predict(self, matrix):
        return matrix[:, 0]


class Nothing:
    """Answers nothing."""


def untouched(tmp_path):
    return not any((tmp_path / "blobs").rglob("objects/*/*"))


@pytest.mark.parametrize("estimator", [Oracle(), None], ids=["own class", "nothing returned"])
def test_a_model_of_another_kind_is_refused_and_nothing_is_stored(ctx, tmp_path, matrix, estimator):
    with pytest.raises(Invalid, match="cannot package a model of type"):
        package(ctx, estimator, signature("regression"), matrix)
    assert untouched(tmp_path)


def test_a_model_that_cannot_be_converted_is_refused_and_nothing_is_stored(ctx, tmp_path, matrix, labels):
    from sklearn.dummy import DummyClassifier

    with pytest.raises(Invalid, match="DummyClassifier cannot be converted to ONNX") as caught:
        package(ctx, DummyClassifier().fit(matrix, labels), signature(), matrix)
    assert "\n" not in str(caught.value)
    with pytest.raises(Invalid, match="cannot be converted to ONNX"):
        package(ctx, lightgbm("LGBMClassifier"), signature(), matrix)
    assert untouched(tmp_path)


def test_a_model_that_answers_differently_once_converted_is_refused(ctx, tmp_path, matrix, labels):
    from sklearn.tree import DecisionTreeClassifier

    estimator = DecisionTreeClassifier(max_depth=3, random_state=0).fit(matrix, labels)
    estimator.predict_proba = lambda asked: np.full((len(asked), 2), 0.5)
    with pytest.raises(Invalid, match="answers differently"):
        package(ctx, estimator, signature(), matrix)
    assert untouched(tmp_path)


@pytest.mark.parametrize("classes", [1, 3])
def test_a_classifier_of_other_than_two_classes_is_refused(ctx, matrix, classes):
    from sklearn.tree import DecisionTreeClassifier

    estimator = DecisionTreeClassifier(max_depth=3).fit(matrix, np.arange(len(matrix)) % classes)
    with pytest.raises(Invalid, match="does not tell two classes apart"):
        package(ctx, estimator, signature(), matrix)


def test_what_cannot_predict_has_no_scores():
    with pytest.raises(Invalid, match="Nothing, which cannot predict"):
        scorer(Nothing(), "classification")


def test_an_artifact_that_is_not_there_or_was_altered_is_told(ctx, tmp_path, matrix, labels):
    with pytest.raises(NotFound):
        load_scorer(ctx, "0" * 64)
    artifact = package(ctx, lightgbm("LGBMClassifier").fit(matrix, labels), signature(), matrix[:50])
    digest = ctx.repository.trees.find(artifact, "model.onnx").digest
    path = tmp_path / "blobs" / "objects" / digest[:2] / digest[2:]
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Corrupt, match=digest):
        load_scorer(ctx, artifact)
