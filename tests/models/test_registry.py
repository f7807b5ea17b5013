"""Registry: what is logged loads back with the same bits, is found by what it was made of, and changes its alias on demand."""

import mlflow
import numpy as np
import pytest

from sparkds.errors import ConfigError, DataError
from sparkds.models import registry
from sparkds.models.estimators import FeatureColumns, HistGradientBoosting, Logistic, Ridge
from sparkds.tracking import store_of, tracked
from tests.models.test_estimators import FEATURES, world


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return store_of(str(tmp_path_factory.mktemp("store")), uri=None)


@pytest.fixture(autouse=True, scope="module")
def _no_address():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="module")
def versions(store):
    """Two versions of one model: logistic, then trees."""
    frame, label, _ = world()
    made = []
    for estimator in (Logistic(), HistGradientBoosting(n_trees=5)):
        fitted = estimator.fitted(frame, label, None, FEATURES, "binary", 1)
        with tracked(store, "models", name=estimator.kind, tags={}):
            uri = registry.log_model(fitted, frame.head(5), features=FEATURES, task="binary", classes=("no", "yes"))
            facts = {"estimator": estimator.kind, "data": {"t": "1"}}
            made.append(
                (
                    fitted,
                    registry.register(uri, "town's model", identity=registry.identity_of(facts), tags={"facts": facts, "long": "x" * 9000}),
                )
            )
    return made


def test_a_registered_model_predicts_the_same_bits_with_one_column_a_class(versions):
    frame, _, _ = world()
    for fitted, made in versions:
        loaded = mlflow.pyfunc.load_model(made.uri)
        assert np.asarray(loaded.predict(frame[list(FEATURES.names)])).tobytes() == fitted.predict_proba(frame).tobytes()
        inputs = loaded.metadata.signature.inputs.input_dict()
        assert {name: column.type.name for name, column in inputs.items()} == {
            "x": "double",
            "hole": "double",
            "empty": "double",
            "town": "string",
        }
        assert [(c.name, c.type.name) for c in loaded.metadata.signature.outputs.inputs] == [
            ("probability_no", "double"),
            ("probability_yes", "double"),
        ]


def test_requirements_are_exact_and_the_pickle_is_chosen(versions):
    info = mlflow.models.get_model_info(versions[1][1].uri)
    assert info.flavors["sklearn"]["serialization_format"] == "cloudpickle"
    told = mlflow.pyfunc.get_model_dependencies(versions[1][1].uri)
    with open(told, encoding="utf-8") as lines:
        pins = dict(line.strip().split("==") for line in lines if line.strip())
    assert set(pins) == set(registry.PINNED)
    assert pins == {name: registry.environment_facts()[name] for name in pins}


def test_a_version_is_found_by_what_it_was_made_of(versions):
    for (_, made), kind in zip(versions, ("logistic", "hist_gradient_boosting"), strict=True):
        found = registry.find("town's model", registry.identity_of({"data": {"t": "1"}, "estimator": kind}))
        assert found == made._replace(is_new=False)
    assert registry.find("town's model", registry.identity_of({"data": {"t": "2"}, "estimator": "logistic"})) is None
    assert registry.find("no such model", "0") is None
    tags = mlflow.MlflowClient().get_model_version("town's model", "1").tags
    assert tags["facts"] == '{"data": {"t": "1"}, "estimator": "logistic"}'
    assert len(tags["long"]) == registry.LONGEST_TAG


def test_the_newest_is_the_challenger_until_it_is_promoted_and_the_champion_before_keeps_a_name(versions):
    name = "town's model"
    assert registry.alias_version(name, registry.CHALLENGER) == 2
    assert registry.alias_version(name, registry.CHAMPION) is None
    mlflow.MlflowClient().delete_registered_model_alias(name, registry.CHALLENGER)
    assert not registry.hold_challenger(versions[0][1])
    assert registry.hold_challenger(versions[1][1])
    assert registry.alias_version(name, registry.CHALLENGER) == 2
    assert registry.promote(name, 1) is None
    assert registry.alias_version(name, registry.CHALLENGER) == 2
    assert registry.promote(name, 2) == 1
    aliases = [registry.alias_version(name, alias) for alias in (registry.CHAMPION, registry.PREVIOUS, registry.CHALLENGER)]
    assert aliases == [2, 1, None]
    assert registry.promote(name, 2) == 2
    assert registry.alias_version(name, registry.PREVIOUS) == 1
    assert not registry.hold_challenger(versions[1][1])
    assert not registry.hold_challenger(versions[0][1])
    with pytest.raises(ConfigError, match="has no version 9"):
        registry.promote(name, 9)


def test_a_regression_has_one_output_and_is_held_against_itself(store, monkeypatch):
    frame, _, number = world()
    features = FeatureColumns(("x",))
    fitted = Ridge().fitted(frame, number, None, features, "regression", 1)
    with tracked(store, "models", name="ridge", tags={}):
        uri = registry.log_model(fitted, frame.head(5), features=features, task="regression")
        assert mlflow.pyfunc.load_model(uri).predict(frame[["x"]]).tobytes() == fitted.predict(frame).tobytes()

        class Other:
            def predict(self, rows):
                return np.zeros(len(rows))

        monkeypatch.setattr(mlflow.pyfunc, "load_model", lambda uri: Other())
        with pytest.raises(DataError, match="predicts otherwise"):
            registry.log_model(fitted, frame.head(5), features=features, task="regression")
