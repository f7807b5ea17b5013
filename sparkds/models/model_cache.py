"""Model cache: a model is loaded once per process and version, however many tasks and batches it scores.

Takes the address of a pinned version and gives the loaded model; kept in this module, which a worker process imports once.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from sparkds.errors import ConfigError

MOST_MODELS: Final = 3
LONGEST: Final = 500
_MODELS: OrderedDict[Pinned, Any] = OrderedDict()
_LOCK = threading.Lock()
_LOADS: Counter[Pinned] = Counter()


@dataclass(frozen=True)
class Pinned:
    """Where a model can be had.

    Attributes
    ----------
    uri : str
        Address that never changes its meaning.
    path : str
        Files that the driver fetched; used where they can be seen.
    tracking_uri, registry_uri : str
        Store from which a worker fetches them otherwise.
    """

    uri: str
    path: str
    tracking_uri: str
    registry_uri: str


def loaded(pinned: Pinned) -> Any:
    """Model of a pinned version; loaded on the first call of a process, on one thread of linear algebra."""
    with _LOCK:
        if pinned in _MODELS:
            _MODELS.move_to_end(pinned)
            return _MODELS[pinned]
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow
        from threadpoolctl import threadpool_limits

        threadpool_limits(1)  # a task has one core; every task would take them all
        if os.path.exists(pinned.path):
            model = mlflow.pyfunc.load_model(pinned.path)
        else:
            mlflow.set_tracking_uri(pinned.tracking_uri)
            mlflow.set_registry_uri(pinned.registry_uri)
            model = mlflow.pyfunc.load_model(pinned.uri)
        _LOADS[pinned] += 1
        _MODELS[pinned] = model
        while len(_MODELS) > MOST_MODELS:
            _MODELS.popitem(last=False)
        return model


def check_loadable(pinned: Pinned) -> None:
    """Load a model here, before any worker has to.

    Raises
    ------
    ConfigError
        It cannot be loaded: a library is missing, its format is refused, its files are spoilt.
    """
    try:
        loaded(pinned)
    except Exception as error:  # of the model's own code, of whatever kind
        told = f"{type(error).__name__}: {str(error)[:LONGEST]}"
        raise ConfigError(f"model {pinned.uri} cannot be loaded ({told}); install what it needs, or allow its format") from error


def loads(pinned: Pinned) -> int:
    """Times that this process has loaded a model."""
    return _LOADS[pinned]
