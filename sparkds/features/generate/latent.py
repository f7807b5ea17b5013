"""Latent components: what a sample of documents, given as counted terms, spans in few dimensions; pure arrays.

Takes the term numbers of documents and gives TF-IDF rows, the leading right singular vectors of them with a fixed sign, and the place of
any document on these vectors.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def inverse_document_frequency(documents: int, frequency: Sequence[int]) -> list[float]:
    """Smooth inverse document frequency ``ln((1 + n) / (1 + df)) + 1`` of terms in ``df`` of ``n`` documents.

    As if one more document held every term once; a term in every document weighs 1, none weighs 0.

    References
    ----------
    scikit-learn, TfidfTransformer with ``smooth_idf=True``.

    Examples
    --------
    >>> inverse_document_frequency(3, [3, 1])
    [1.0, 1.6931471805599454]
    """
    return [math.log((1 + documents) / (1 + df)) + 1.0 for df in frequency]


def weighted_rows(term: IntArray, starts: IntArray, idf: Doubles, unit_length: bool) -> Any:
    """TF-IDF of documents: count of the term in the document times its idf.

    Parameters
    ----------
    term : (n_occurrences,)
        Number of each occurrence's term, documents one after the other.
    starts : (n_documents + 1,)
        Offsets of the documents.
    idf : (n_terms,)
    unit_length : bool
        Whether each row is divided by its Euclidean length; a document without terms stays zero.

    Returns
    -------
    (n_documents, n_terms) scipy.sparse.csr_array
    """
    from scipy.sparse import csr_array

    rows = csr_array((np.ones(len(term)), term.astype(np.int64), starts.astype(np.int64)), shape=(len(starts) - 1, len(idf)))
    rows.sum_duplicates()
    rows.data *= idf[rows.indices]
    if unit_length:
        document = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        length = np.sqrt(np.bincount(document, weights=rows.data**2, minlength=rows.shape[0]))
        rows.data /= length[document]
    return rows


@dataclass(frozen=True, eq=False)
class Components:
    """Leading right singular vectors.

    Attributes
    ----------
    vectors : (k, n_terms)
        Of unit length, by falling singular value; of each, the entry of the largest size is above zero. Rows beyond the rank are zero.
    singular_values : (k,)
    explained : float
        Share of the squared length of all rows that the components hold.
    """

    vectors: Doubles
    singular_values: Doubles
    explained: float


def leading_components(rows: Any, k: int, seed: int) -> Components:
    """Truncated singular value decomposition of documents, without centring (latent semantic analysis).

    Parameters
    ----------
    rows : (n_documents, n_terms) scipy.sparse array
    k : int
        At most ``min(rows.shape)`` components are there; the others are zero.
    seed : int
        Of the vector that ARPACK starts from; the result hangs on it in the last digits only.

    References
    ----------
    Deerwester, Dumais, Furnas, Landauer and Harshman 1990; the sign rule is scikit-learn's ``svd_flip`` on the right vectors.
    """
    from scipy.sparse.linalg import svds

    n, n_terms = rows.shape
    if k < min(n, n_terms):
        start = np.random.default_rng(seed).uniform(-1, 1, min(n, n_terms))
        _, sizes, found = svds(rows, k=k, v0=start, return_singular_vectors="vh", solver="arpack")
        order = np.argsort(-sizes, kind="stable")
        sizes, found = sizes[order], found[order]
    else:
        _, sizes, found = np.linalg.svd(rows.toarray(), full_matrices=False)
    vectors, values = np.zeros((k, n_terms)), np.zeros(k)
    inside = min(k, len(sizes))
    values[:inside], vectors[:inside] = sizes[:inside], found[:inside]
    lost = values <= values.max(initial=0.0) * max(n, n_terms) * np.finfo(np.float64).eps
    values[lost], vectors[lost] = 0.0, 0.0
    largest = np.argmax(np.abs(vectors), axis=1)
    vectors *= np.where(vectors[np.arange(k), largest] < 0, -1.0, 1.0)[:, None]
    total = float((rows.data**2).sum())
    return Components(vectors, values, float((values**2).sum()) / total if total else 0.0)


def as_text(vectors: Doubles) -> str:
    """Bits of an array of doubles as text: little-endian, row after row, base64."""
    return base64.b64encode(np.ascontiguousarray(vectors, dtype="<f8").tobytes()).decode()


def of_text(text: str, k: int) -> Doubles:
    """Array of `as_text`, of k rows."""
    return np.frombuffer(base64.b64decode(text), dtype="<f8").reshape(k, -1).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Projection:
    """Place of documents on components.

    Attributes
    ----------
    idf : (n_terms,)
    vectors : (k, n_terms)
    unit_length : bool
        Of the TF-IDF rows.
    """

    idf: Doubles
    vectors: Doubles
    unit_length: bool

    def of(self, term: IntArray, starts: IntArray) -> Doubles:
        """Coordinates of each document: (n_documents, k); zero for a document without terms."""
        placed: Doubles = weighted_rows(term, starts, self.idf, self.unit_length) @ self.vectors.T
        return placed
