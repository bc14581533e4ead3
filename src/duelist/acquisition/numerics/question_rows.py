"""Rows of a pool of questions: k − 1 each, formed from the responses' gradients when they are read.

A question's information in the weights is Gᵀ M G (see `choice_models/information.py`). With M = C Cᵀ it is Uᵀ U, where
the rows of U = Cᵀ G are k − 1 combinations of the responses' gradients. Only the gradients are stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from duelist.acquisition.numerics.pool_rows import PoolRows, as_rows
from duelist.acquisition.numerics.response_groups import Floats, Integers, ResponseGroups

# Questions whose small matrices are worked on at a time.
BLOCK_QUESTIONS = 4096


@final
class QuestionRows:
    """View of the rows U of N questions, W = Q − 1 each; a smaller question's last rows are zero.

    Attributes:
        responses: the gradients of the responses that occur in some question.
        place_NQ: the positions of each question's responses among them; −1 beyond the last one.
        root_NQW: C of each question.
        width_N: the number of rows that are not padding, k − 1.
        groups: the responses grouped by the questions that share them.
    """

    def __init__(
        self, responses_RD: NDArray[Any] | PoolRows, place_NQ: Integers, root_NQW: Floats, block_rows: int | None = None
    ) -> None:
        """Create a view; nothing is read.

        Args:
            responses_RD: the gradients of the responses: an array, or a `np.memmap`.
            place_NQ: the positions of each question's responses among them; −1 beyond the last one.
            root_NQW: C of each question; zero beyond its last response.
            block_rows: number of responses to hold at a time; by default as many as fit in 32 MiB as float64.
        """
        used_R, inverse = np.unique(place_NQ[place_NQ >= 0], return_inverse=True)
        self.responses = as_rows(responses_RD, block_rows)[used_R]
        self.place_NQ = np.full(place_NQ.shape, -1, np.int64)
        self.place_NQ[place_NQ >= 0] = inverse
        self.root_NQW = root_NQW
        self.width_N = np.asarray((place_NQ >= 0).sum(axis=1) - 1, np.int64)
        self.groups = ResponseGroups.of(self.place_NQ, len(used_R))

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), self.root_NQW.shape[2], *self.responses.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.responses.dtype

    @property
    def mapped(self) -> bool:
        """Return whether the gradients are stored in a memory-mapped file."""
        return self.responses.mapped

    @property
    def stored_rows(self) -> int:
        """Return the number of rows that one reading of the pool reads: one for each response."""
        return len(self.responses)

    def __len__(self) -> int:
        return len(self.place_NQ)

    def first(self, count: int) -> QuestionRows:
        """Return a view of the first questions."""
        return QuestionRows(self.responses, self.place_NQ[:count], self.root_NQW[:count])

    def of_responses(self, response_RD: Floats) -> QuestionRows:
        """Return the same questions with other vectors in the place of the gradients of `responses`."""
        return QuestionRows(response_RD, self.place_NQ, self.root_NQW)

    def information(self) -> Floats:
        """Return Σ UᵀU over all questions, `[D, D]`."""
        inside_NQ = self.place_NQ >= 0
        weight = self.groups.summed(self.root_NQW @ self.root_NQW.transpose(0, 2, 1), inside_NQ)
        matrix_DD = np.zeros((self.shape[2], self.shape[2]))
        for groups_G, response_XD in self.blocks():
            parts, start = [], 0
            for weight_XX in self.groups.matrices(weight, groups_G):
                parts.append(weight_XX @ response_XD[start : start + len(weight_XX)])
                start += len(weight_XX)
            matrix_DD += response_XD.T @ np.concatenate(parts)
        return matrix_DD

    def read(self, positions_N: Integers) -> Floats:
        """Return U of the questions at these positions, `[N, W, D]`, as float64."""
        place_NQ: Any = self.place_NQ[positions_N]
        used_R, slot = np.unique(place_NQ, return_inverse=True)
        response_RD = self.responses.read(np.maximum(used_R, 0))  # C is zero where the place is −1
        response_NQD = response_RD[slot.reshape(place_NQ.shape)]
        return np.asarray(np.matmul(self.root_NQW[positions_N].transpose(0, 2, 1), response_NQD))

    def stacked(self, positions_N: Integers) -> Floats:
        """Return the rows of some questions one after another, without padding."""
        inside_NW = np.arange(self.root_NQW.shape[2]) < self.width_N[positions_N, None]
        return self.read(positions_N)[inside_NW]

    def combined(self, vector_RX: Floats) -> Floats:
        """Return Cᵀ times the rows of `vector_RX` at each question's responses, `[N, W, X]`."""
        return np.asarray(self.root_NQW.transpose(0, 2, 1) @ vector_RX[self.place_NQ])

    def squares(self, gram: Floats, positions_N: Integers | None = None) -> Floats:
        """Return Cᵀ K C of some questions, `[N, W, W]`, where `gram` holds K between the responses of each group."""
        positions_N = np.arange(len(self)) if positions_N is None else positions_N
        w = self.root_NQW.shape[2]
        square_NWW = np.empty((len(positions_N), w, w))
        for start in range(0, len(positions_N), BLOCK_QUESTIONS):
            some_N = positions_N[start : start + BLOCK_QUESTIONS]
            root_NQW = self.root_NQW[some_N]
            inner_NQQ = self.groups.between(gram, some_N)
            square_NWW[start : start + BLOCK_QUESTIONS] = root_NQW.transpose(0, 2, 1) @ inner_NQQ @ root_NQW
        return square_NWW

    @cached_property
    def gram(self) -> Floats:
        """The inner products of the gradients within each group; one reading of the responses."""
        return self.residual_gram(None)

    @cached_property
    def square_norm_N(self) -> Floats:
        """tr(U Uᵀ) of each question: the trace of its information."""
        return np.asarray(np.trace(self.squares(self.gram), axis1=1, axis2=2))

    @cached_property
    def magnitude_N(self) -> Floats:
        """Σ_i M_ii |g_i|² of each question: what the rounding of its rows is relative to."""
        square_NQQ = self.groups.between(self.gram, np.arange(len(self)))
        square_NQ = np.diagonal(square_NQQ, axis1=1, axis2=2)
        return np.asarray(np.einsum("nqw,nqw,nq->n", self.root_NQW, self.root_NQW, square_NQ))

    def residual_gram(self, direction_XD: Floats | None) -> Floats:
        """Return the inner products of what directions leave of the gradients: K = GGᵀ − (G Dᵀ)(G Dᵀ)ᵀ."""
        gram = self.groups.empty()
        for groups_G, response_XD in self.blocks():
            self.groups.add(gram, groups_G, response_XD, 1.0)
            if direction_XD is not None and len(direction_XD):
                self.groups.add(gram, groups_G, response_XD @ direction_XD.T, -1.0)
        return gram

    def blocks(self) -> Iterator[tuple[Integers, Floats]]:
        """Yield all groups in batches, and the gradients of their members as float64."""
        for groups_G in self.groups.batches(np.arange(len(self.groups)), self.responses.block_rows):
            yield groups_G, self.responses.read(self.groups.members(groups_G))


def log_determinants(matrix_NWW: Floats) -> Floats:
    """Return logdet(I + S) of symmetric matrices without negative eigenvalues, in nats; small ones keep their digits.

    The pivots of I + S are eliminated for all matrices together. Each exceeds 1 by what remains on the diagonal of S.
    """
    left_NWW, total_N = matrix_NWW.copy(), np.zeros(len(matrix_NWW))
    for j in range(matrix_NWW.shape[1]):
        excess_N = np.maximum(left_NWW[:, j, j], 0.0)
        total_N += np.log1p(excess_N)
        column_NW = left_NWW[:, j + 1 :, j]
        left_NWW[:, j + 1 :, j + 1 :] -= column_NW[:, :, None] * (column_NW / (1.0 + excess_N)[:, None])[:, None, :]
    return total_N
