"""Derived features: declarations, what is fitted on the training slice, and the columns that follow."""

from sparkds.features.generate.calendar import Calendar, Holiday, TimeSincePrevious
from sparkds.features.generate.categorical import Frequency, OneHot
from sparkds.features.generate.derivation import Derivation, Fits, Fitted, Grouped, Output
from sparkds.features.generate.expressions import Inputs
from sparkds.features.generate.fitted_state import FittedState
from sparkds.features.generate.generation import AnyDerivation, Generation
from sparkds.features.generate.imputation import Impute
from sparkds.features.generate.interactions import Difference, Polynomials, Product, Ratio
from sparkds.features.generate.numeric import Clip, Log1p, QuantileBins, Standardise
from sparkds.features.generate.slices import NullGate, Slice
from sparkds.features.generate.target_encoding import TargetEncoding
from sparkds.features.generate.text import Embedding, Hashing, TextSvd, TfIdf, Vocabulary

__all__ = [
    "AnyDerivation",
    "Calendar",
    "Clip",
    "Derivation",
    "Difference",
    "Embedding",
    "Fits",
    "Fitted",
    "FittedState",
    "Frequency",
    "Generation",
    "Grouped",
    "Hashing",
    "Holiday",
    "Impute",
    "Inputs",
    "Log1p",
    "NullGate",
    "OneHot",
    "Output",
    "Polynomials",
    "Product",
    "QuantileBins",
    "Ratio",
    "Slice",
    "Standardise",
    "TargetEncoding",
    "TextSvd",
    "TfIdf",
    "TimeSincePrevious",
    "Vocabulary",
]
