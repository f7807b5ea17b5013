"""Small models in a store of their own, for the tests of scoring."""

import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd

NAMES = ("x0", "x1", "x2")


@contextmanager
def quiet():
    """Without MLflow's advice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Fussy:
    """Model that fails on rows whose first feature is 13, and gives infinity where it is 99."""

    def fit(self, *_):
        return self

    def predict(self, frame):
        if (frame["x0"] == 13).any():
            raise ValueError("thirteen is not a number")
        return np.where(frame["x0"] == 99, np.inf, frame["x0"] + frame["x1"])


def signature(inputs, outputs):
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    return ModelSignature(
        inputs=Schema([ColSpec(kind, name) for name, kind in inputs.items()]),
        outputs=Schema([ColSpec(kind, name) for name, kind in outputs.items()]),
    )


def classifier():
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(1)
    x = pd.DataFrame(rng.normal(size=(400, 3)), columns=list(NAMES))
    return HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(x, (x["x0"] + rng.normal(size=400) > 0).astype(int))


def log_classifier(name="prospects", **told):
    """Register a boosted classifier with a probability per class; its version."""
    import mlflow

    with mlflow.start_run(), quiet():
        info = mlflow.sklearn.log_model(
            classifier(), name="model", registered_model_name=name, serialization_format="cloudpickle", pyfunc_predict_fn="predict_proba",
            signature=told.pop("signature", signature(dict.fromkeys(NAMES, "double"), {"probability_0": "double", "probability_1": "double"})),
            pip_requirements=told.pop("requirements", ["scikit-learn==1.9.1"]),
        )  # fmt: skip
    return int(info.registered_model_version)


def log_pyfunc(function, name, sign):
    """Register a function of a frame as a model; its version."""
    import sys

    import cloudpickle
    import mlflow

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need not have the tests

    class Wrapped(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return function(model_input)

    with mlflow.start_run(), quiet():
        info = mlflow.pyfunc.log_model(
            name="model", python_model=Wrapped(), signature=sign, registered_model_name=name, pip_requirements=[]
        )
    return int(info.registered_model_version)
