"""Seeded sparse random projection without a stored matrix: one ±1 per parameter.

Reference: ActiveDPO (arXiv 2505.19241), Section 3.3, asks for a random projection; which one is ours.

Sparse Johnson–Lindenstrauss transform with one nonzero per column (the count sketch of Charikar, Chen and
Farach-Colton, 2002). Its buckets are arranged so that adding contiguous pieces folds a block of parameters onto D
numbers. It needs no index table, gather or scatter, and gives the same bits in every process.

The P parameters form consecutive blocks (one weight matrix each, row-major). Parameter j of block k has the
index g = offset_k + j. With m the splitmix64 finaliser and all arithmetic modulo 2⁶⁴:

    word(g)   = m(s + (⌊g/64⌋ + 1) · 0x9E3779B97F4A7C15)         s = derived_seed(seed, "sketch", "signs")
    sign(g)   = +1 if bit (g mod 64) of word(g) is set, else −1
    bucket(g) = g                                    if P ≤ D: the projection is then an isometry
              = (j mod q + rotation_k) mod D         otherwise, q the largest prime ≤ D and
                                                     rotation_k = derived_seed(seed, "sketch", "rotation", k) mod D

Folding at a prime instead of D puts parameters that are often large together (a column of a matrix whose width is a
power of two) into different buckets. The rotations separate them across blocks. Inner products are unbiased. If such
parameters do not share a bucket, the variance is at most (|a|²|b|² + ⟨a, b⟩²) / D, as for a dense ±1 projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch

from duelist.errors import DataError
from duelist.seeding import derived_seed

_WORD_BITS: Final = 64
_GOLDEN: Final = 0x9E3779B97F4A7C15
# (shift, multiplier) of the finaliser's first two steps; the third only shifts.
_MIX: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT: Final = 31


class SparseSketch:
    """Projection of P parameters, in blocks, to D numbers. Final.

    Args:
        block_sizes: the number of parameters of each block, in order.
        dimension: D, or None for no projection: then D = P and the signs are all +1.
        seed: seed of the projection.

    Raises:
        DataError: if `dimension` is less than 1.
    """

    def __init__(self, block_sizes: Sequence[int], dimension: int | None, seed: int) -> None:
        if dimension is not None and dimension < 1:
            raise DataError(f"The projection's dimension must be at least 1, but got {dimension}. The default is 8192.")
        self.parameter_count = sum(block_sizes)
        self.dimension = self.parameter_count if dimension is None else dimension
        self._signed = dimension is not None
        self._folds = self.parameter_count > self.dimension
        self._stride = _largest_prime_up_to(self.dimension) if self._folds else max(1, self.parameter_count)
        self._offset = [sum(block_sizes[:k]) for k in range(len(block_sizes))]
        self._start = (
            [derived_seed(seed, "sketch", "rotation", k) % self.dimension for k in range(len(block_sizes))]
            if self._folds
            else self._offset
        )
        self._sign_seed = derived_seed(seed, "sketch", "signs")

    def accumulator(self, rows: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """Return zeros to add blocks to: one row per gradient, twice D wide if a rotation may wrap around."""
        return torch.zeros(rows, self.dimension * (2 if self._folds else 1), dtype=dtype, device=device)

    def add_(self, accumulator_RW: torch.Tensor, block: int, gradient_Rn: torch.Tensor) -> None:
        """Project one block of R gradients and add it to the accumulator, in place.

        Args:
            accumulator_RW: from `accumulator`, or some of its rows.
            block: index of the block.
            gradient_Rn: that block's part of the gradients, in the accumulator's type; overwritten.
        """
        size = gradient_Rn.shape[1]
        if self._signed:
            gradient_Rn.mul_(self._signs(self._offset[block], size, gradient_Rn))
        folded = size - size % self._stride
        if folded:
            pieces_RFq = gradient_Rn[:, :folded].unflatten(1, (-1, self._stride))
            accumulator_RW.narrow(1, self._start[block], self._stride).add_(pieces_RFq.sum(1))
        if folded < size:
            accumulator_RW.narrow(1, self._start[block], size - folded).add_(gradient_Rn[:, folded:])

    def finish(self, accumulator_RW: torch.Tensor) -> torch.Tensor:
        """Return the projected gradients, R × D."""
        if not self._folds:
            return accumulator_RW
        return accumulator_RW[:, : self.dimension] + accumulator_RW[:, self.dimension :]

    def _signs(self, offset: int, size: int, like: torch.Tensor) -> torch.Tensor:
        first, last = offset // _WORD_BITS, (offset + size - 1) // _WORD_BITS
        counter = torch.arange(first + 1, last + 2, dtype=torch.int64, device=like.device)
        word = _splitmix64(counter * _as_int64(_GOLDEN) + _as_int64(self._sign_seed))
        # Little-endian bytes, so bit i of byte b is bit 8b + i of the word: eight signs from one look-up.
        table = (torch.arange(256, device=like.device)[:, None] >> torch.arange(8, device=like.device)) & 1
        sign = (2 * table - 1).to(like.dtype).index_select(0, word.view(torch.uint8).int()).flatten()
        return sign.narrow(0, offset - first * _WORD_BITS, size)


def _splitmix64(z: torch.Tensor) -> torch.Tensor:
    """Apply the finaliser of splitmix64 in int64, whose products wrap around like unsigned ones."""
    for shift, multiplier in _MIX:
        z = (z ^ _shift_right(z, shift)) * _as_int64(multiplier)
    return z ^ _shift_right(z, _LAST_SHIFT)


def _shift_right(z: torch.Tensor, bits: int) -> torch.Tensor:
    # torch shifts int64 arithmetically: mask away the copies of the sign bit.
    return (z >> bits) & ((1 << (_WORD_BITS - bits)) - 1)


def _as_int64(unsigned: int) -> int:
    return unsigned - (1 << 64) if unsigned >= 1 << 63 else unsigned


def _largest_prime_up_to(limit: int) -> int:
    for candidate in range(limit, 1, -1):
        if all(candidate % divisor for divisor in range(2, int(candidate**0.5) + 1)):
            return candidate
    return 1
