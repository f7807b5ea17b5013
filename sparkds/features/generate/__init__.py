"""Derived features: declarations, what is fitted on the training slice, and the columns that follow."""

from sparkds.features.generate.calendar import Calendar, Holiday, TimeSincePrevious
from sparkds.features.generate.derivation import Derivation, Fits, Fitted, Grouped, Output
from sparkds.features.generate.expressions import Inputs
from sparkds.features.generate.fitted_state import FittedState
from sparkds.features.generate.generation import AnyDerivation, Generation
from sparkds.features.generate.numeric import Log1p, Standardise
from sparkds.features.generate.slices import NullGate, Slice
from sparkds.features.generate.text import Embedding, Hashing, TextSvd, TfIdf, Vocabulary

__all__ = [
    "AnyDerivation",
    "Calendar",
    "Derivation",
    "Embedding",
    "Fits",
    "Fitted",
    "FittedState",
    "Generation",
    "Grouped",
    "Hashing",
    "Holiday",
    "Inputs",
    "Log1p",
    "NullGate",
    "Output",
    "Slice",
    "Standardise",
    "TextSvd",
    "TfIdf",
    "TimeSincePrevious",
    "Vocabulary",
]
