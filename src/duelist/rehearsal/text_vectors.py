"""Vectors of texts without a model: latent semantic analysis, and the length.

Reference: Deerwester et al., "Indexing by latent semantic analysis", JASIS 41, 1990.
Formula:   count (1 + log n) · log((1 + T)/(1 + T_w)) of words and pairs of words, rows of norm 1; its leading singular
           directions, each scaled to mean square 1; and the logarithm of the number of words. Texts and terms are
           sorted first, so the order of the texts does not matter.
Cost:      up to 2,000 texts, the eigenvectors of their inner products; above, Lanczos steps on a sparse matrix: seconds
           for tens of thousands of texts.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import svds

from duelist.audit.head import COMPONENTS, Floats, scaled
from duelist.data.words import log_length, words
from duelist.errors import DataError

VOCABULARY = 20_000  # words and pairs of words, the most frequent ones
DENSE = 2_000  # texts, at most, whose inner products are decomposed as a dense matrix
SMALLEST = 1e-6  # singular value, relative to the largest, of a direction that is not rounding


def text_vectors(texts: Sequence[str], rng: np.random.Generator) -> Floats:
    """Return a vector of each text, `[R, H]`; its last entry is its log length.

    Args:
        texts: the texts.
        rng: the generator of the start of the Lanczos steps.

    Raises:
        DataError: if the texts have too few words in common.
    """
    order = sorted(range(len(texts)), key=texts.__getitem__)
    vector_RH = _of_sorted([texts[i] for i in order], rng)
    found_RH = np.empty_like(vector_RH)
    found_RH[order] = vector_RH
    return found_RH


def _of_sorted(texts: Sequence[str], rng: np.random.Generator) -> Floats:
    counts = [_terms(text) for text in texts]
    documents = Counter(term for count in counts for term in count)
    frequent = sorted((-n, term) for term, n in documents.items() if n > 1)[:VOCABULARY]
    terms = sorted(term for _, term in frequent)
    rank = min(COMPONENTS, len(texts) - 1, len(terms) - 1)
    if rank < 1:
        raise DataError(
            f"Features without a model are words that responses share, but {len(texts)} responses share "
            f"{len(terms)}: give features with --model or --embeddings."
        )
    column = {term: i for i, term in enumerate(terms)}
    cells = [
        (r, column[t], 1.0 + np.log(n))
        for r, count in enumerate(counts)
        for t, n in sorted(count.items())
        if t in column
    ]
    row_X, column_X, value_X = (np.array(x) for x in zip(*cells, strict=True))
    matrix = csr_array((value_X, (row_X, column_X)), shape=(len(texts), len(terms)))
    rarity = np.log((1.0 + len(texts)) / (1.0 + np.array([documents[t] for t in terms])))
    matrix = matrix * rarity[None, :]
    norm_R = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    matrix = diags_array(1.0 / np.where(norm_R > 0, norm_R, 1.0)) @ matrix
    vector_RH = np.empty((len(texts), 0))
    if norm_R.any():
        vector_RH = _left_directions(matrix.tocsr(), rank, rng) * np.sqrt(len(texts))
    return np.concatenate([vector_RH, with_length(np.empty((len(texts), 0)), texts)], axis=1)


def _left_directions(matrix: csr_array, rank: int, rng: np.random.Generator) -> Floats:
    """Return the leading left singular vectors, `[R, H]`, the largest first."""
    n = matrix.shape[0]
    if n <= DENSE:
        square_H, direction_RH = eigh((matrix @ matrix.T).toarray(), subset_by_index=[n - rank, n - 1])
        size_H = np.sqrt(np.maximum(square_H, 0.0))
    else:
        start = rng.standard_normal(min(matrix.shape))  # without it, the answer differs from call to call
        direction_RH, size_H, _ = svds(matrix, k=rank, v0=start)
    order_H = np.argsort(-size_H, kind="stable")
    kept_H = order_H[size_H[order_H] > SMALLEST * size_H.max()]
    return np.asarray(direction_RH[:, kept_H])


def with_length(vector_RH: Floats, texts: Sequence[str]) -> Floats:
    """Return vectors with columns of mean square 1 about their mean, and the log number of words as one more."""
    length_R1 = np.array([[log_length(text)] for text in texts])
    both_RH = np.concatenate([np.asarray(vector_RH, np.float64), length_R1], axis=1)
    return scaled(centred(both_RH))


def centred(column_XD: Floats) -> Floats:
    """Return columns about their mean; those of equal numbers are exactly 0."""
    return np.where(np.ptp(column_XD, axis=0) > 0, column_XD - column_XD.mean(axis=0), 0.0)


def _terms(text: str) -> Counter[str]:
    found = words(text)
    return Counter([*found, *(f"{a} {b}" for a, b in itertools.pairwise(found))])
