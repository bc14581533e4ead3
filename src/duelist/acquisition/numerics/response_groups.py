"""Responses grouped so that the inner products that a pool's questions need lie within the groups.

The questions about one prompt share its responses: C(m, k) questions need the inner products of m responses only. The
inner products of a group are one square matrix, and the matrices of all groups are stored one after another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Responses of a group at most. In a larger web of questions, as cross-prompt pairs make it, each question is a group.
LARGEST_GROUP = 32


@dataclass(frozen=True)
class ResponseGroups:
    """G groups of responses; every question's responses are in one group.

    Attributes:
        group_N: the group of each question.
        local_NQ: the positions of a question's responses in their group; 0 beyond the last one.
        member_X: the responses of the groups, one group after another, in increasing order within each.
        start_G: where each group begins in `member_X`; one number more than there are groups.
        base_G: where each group's matrix begins; one number more than there are groups.
    """

    group_N: Integers
    local_NQ: Integers
    member_X: Integers
    start_G: Integers
    base_G: Integers

    @staticmethod
    def of(place_NQ: Integers, responses: int) -> ResponseGroups:
        """Group R responses by the questions that share them.

        Args:
            place_NQ: the responses of each question; −1 beyond the last one.
            responses: their number, R.
        """
        inside_NQ = place_NQ >= 0
        question_X, _ = np.nonzero(inside_NQ)
        response_X = place_NQ[inside_NQ]
        links = scipy.sparse.coo_array(
            (np.ones(len(question_X)), (place_NQ[question_X, 0], response_X)), (responses, responses)
        )
        web_R = scipy.sparse.csgraph.connected_components(links, directed=False)[1]
        web_N = web_R[place_NQ[:, 0]].astype(np.int64) if len(place_NQ) else np.empty(0, np.int64)
        size = np.bincount(web_R[np.unique(response_X)], minlength=1)
        too_large_N = size[web_N] > LARGEST_GROUP
        group_N = np.unique(np.where(too_large_N, web_R.size + np.arange(len(place_NQ)), web_N), return_inverse=True)[1]
        key_X = group_N[question_X] * responses + response_X
        member_key_X = np.unique(key_X)
        size_G = np.bincount(member_key_X // max(1, responses), minlength=int(group_N.max(initial=-1)) + 1)
        start_G = np.concatenate([[0], np.cumsum(size_G)])
        local_NQ = np.zeros(place_NQ.shape, np.int64)
        local_NQ[inside_NQ] = np.searchsorted(member_key_X, key_X) - start_G[group_N[question_X]]
        base_G = np.concatenate([[0], np.cumsum(size_G**2)])
        return ResponseGroups(group_N, local_NQ, member_key_X % max(1, responses), start_G, base_G)

    def __len__(self) -> int:
        return len(self.start_G) - 1

    @property
    def size_G(self) -> Integers:
        """Return the number of responses of each group."""
        return np.diff(self.start_G)

    def batches(self, groups_G: Integers, most_members: int) -> Iterator[Integers]:
        """Yield some groups in batches of `most_members` responses together; a group is never divided."""
        ends_G = np.cumsum(self.start_G[groups_G + 1] - self.start_G[groups_G])
        first = 0
        while first < len(groups_G):
            before = ends_G[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends_G, before + most_members, side="right")))
            yield groups_G[first:last]
            first = last

    def members(self, groups_G: Integers) -> Integers:
        """Return the responses of some groups, one group after another."""
        size_G = self.start_G[groups_G + 1] - self.start_G[groups_G]
        offset_G = np.cumsum(size_G) - size_G
        position_X = np.arange(size_G.sum()) + np.repeat(self.start_G[groups_G] - offset_G, size_G)
        return np.asarray(self.member_X[position_X])

    def empty(self) -> Floats:
        """Return zeros for the matrices of all groups."""
        return np.zeros(int(self.base_G[-1]))

    def add(self, gram: Floats, groups_G: Integers, vector_XD: Floats, sign: float) -> None:
        """Add the inner products of vectors, one for each member of some groups, to the matrices `gram`.

        Args:
            gram: the matrices of all groups, as `empty` returns them; changed.
            groups_G: the groups.
            vector_XD: the vectors, in the order of `members(groups_G)`.
            sign: 1 to add, −1 to subtract.
        """
        size_G = self.start_G[groups_G + 1] - self.start_G[groups_G]
        offset_G = np.cumsum(size_G) - size_G
        for size in np.unique(size_G).tolist():
            same = np.flatnonzero(size_G == size)
            if len(same) == len(groups_G):
                vector_GXD = vector_XD.reshape(len(same), size, -1)
            else:
                vector_GXD = vector_XD[offset_G[same, None] + np.arange(size)]
            product_GXX = vector_GXD @ vector_GXD.transpose(0, 2, 1)
            gram[self.base_G[groups_G[same], None] + np.arange(size**2)] += sign * product_GXX.reshape(len(same), -1)

    def between(self, gram: Floats, positions_N: Integers) -> Floats:
        """Return the entries of `gram` between the responses of some questions, `[N, Q, Q]`."""
        return np.asarray(gram[self._at(positions_N)])

    def matrices(self, gram: Floats, groups_G: Integers) -> Iterator[Floats]:
        """Yield the matrices of some groups."""
        for group in groups_G.tolist():
            size = int(self.start_G[group + 1] - self.start_G[group])
            yield gram[self.base_G[group] : self.base_G[group + 1]].reshape(size, size)

    def summed(self, entry_NQQ: Floats, inside_NQ: NDArray[np.bool_]) -> Floats:
        """Return the matrices of all groups, each the sum of its questions' matrices at their responses."""
        inside_NQQ = inside_NQ[:, :, None] & inside_NQ[:, None, :]
        at_NQQ = self._at(np.arange(len(self.group_N)))
        return np.asarray(np.bincount(at_NQQ[inside_NQQ], entry_NQQ[inside_NQQ], int(self.base_G[-1])), np.float64)

    def _at(self, positions_N: Integers) -> Integers:
        """Return where the entries between the responses of some questions are, `[N, Q, Q]`."""
        group_N, local_NQ = self.group_N[positions_N], self.local_NQ[positions_N]
        row_NQ = self.base_G[group_N, None] + local_NQ * (self.start_G[group_N + 1] - self.start_G[group_N])[:, None]
        return np.asarray(row_NQ[:, :, None] + local_NQ[:, None, :])
