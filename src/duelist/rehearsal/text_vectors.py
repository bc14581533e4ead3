"""Vectors of texts without a model: latent semantic analysis, and the length.

Reference: Deerwester et al., "Indexing by latent semantic analysis", JASIS 41, 1990; the singular directions: Halko,
           Martinsson, Tropp, "Finding structure with randomness", SIAM Review 53, 2011, Algorithm 4.4.
Formula:   count (1 + log n) · log((1 + T)/(1 + T_w)) of words and pairs of words, rows of norm 1; its leading singular
           directions, each scaled to mean square 1; and the logarithm of the number of words.
Cost:      some passes over a sparse matrix: seconds for tens of thousands of texts.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

Floats = NDArray[np.float64]

COMPONENTS = 48
OVERSAMPLING = 10  # dimensions of the search beside them
VOCABULARY = 20_000  # words and pairs of words, the most frequent ones
_WORD = re.compile(r"\w+")


def text_vectors(texts: Sequence[str], rng: np.random.Generator) -> Floats:
    """Return a vector of each text, `[R, H]`; its last entry is its log length.

    Args:
        texts: the texts.
        rng: the generator of the random start of the search for singular directions.
    """
    counts = [_terms(text) for text in texts]
    documents = Counter(term for count in counts for term in count)
    terms = [term for term, n in documents.most_common(VOCABULARY) if n > 1]
    column = {term: i for i, term in enumerate(terms)}
    cells = [(r, column[t], 1.0 + np.log(n)) for r, count in enumerate(counts) for t, n in count.items() if t in column]
    parts = [with_length(np.empty((len(texts), 0)), texts)]
    rank = min(COMPONENTS, len(texts) - 1, len(terms) - 1)
    if rank > 0:
        row_X, column_X, value_X = (np.array(x) for x in zip(*cells, strict=True))
        matrix = csr_array((value_X, (row_X, column_X)), shape=(len(texts), len(terms)))
        rarity = np.log((1.0 + len(texts)) / (1.0 + np.array([documents[t] for t in terms])))
        matrix = matrix * rarity[None, :]
        norm_R = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
        matrix = diags_array(1.0 / np.where(norm_R > 0, norm_R, 1.0)) @ matrix
        parts.insert(0, _left_directions(matrix.tocsr(), rank, rng) * np.sqrt(len(texts)))
    return np.concatenate(parts, axis=1)


def _left_directions(matrix: csr_array, rank: int, rng: np.random.Generator) -> Floats:
    """Return the leading left singular vectors, `[R, H]`, the largest first, by randomized range finding.

    Four power iterations make the space exact for text. ARPACK's answer (`svds`) differs from call to call where
    singular values are equal.
    """
    width = min(rank + OVERSAMPLING, *matrix.shape)
    basis_RX = np.linalg.qr(matrix @ rng.standard_normal((matrix.shape[1], width)))[0]
    for _ in range(4):
        basis_RX = np.linalg.qr(matrix @ (matrix.T @ basis_RX))[0]
    inner_XH, size_H, _ = np.linalg.svd((matrix.T @ basis_RX).T, full_matrices=False)
    kept = min(rank, int((size_H > 1e-9 * size_H.max()).sum()))
    return np.asarray(basis_RX @ inner_XH[:, :kept])


def with_length(vector_RH: Floats, texts: Sequence[str]) -> Floats:
    """Return vectors with columns of mean square 1 about their mean, and the log number of words as one more."""
    length_R1 = np.log1p([[len(_WORD.findall(text))] for text in texts])
    both_RH = np.concatenate([np.asarray(vector_RH, np.float64), length_R1], axis=1)
    centred_RH = both_RH - both_RH.mean(axis=0)
    deviation_H = centred_RH.std(axis=0)
    return np.asarray(centred_RH / np.where(deviation_H > 0, deviation_H, 1.0))


def _terms(text: str) -> Counter[str]:
    words = _WORD.findall(text.lower())
    return Counter([*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))])
