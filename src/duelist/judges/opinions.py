"""From the probabilities of a language model's answers to an opinion on a pair.

Formula:   mass = Σ_c p_c over the choices c (the first is better, the second, equal), p_c the probability of the answer
           c, or its share among sampled answers; P(c) = p_c^(1/T) / Σ_c' p_c'^(1/T). Below `min_mass` there is no
           opinion: the model wants to say something else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from duelist.judgement import Opinion


def opinion(log_prob_C: Sequence[float], min_mass: float, temperature: float = 1.0) -> Opinion | None:
    """Return the probabilities that the response displayed first is better, the second, and that they are equal.

    Args:
        log_prob_C: natural logarithms of the probabilities of the two or three choices.
        min_mass: least probability of all choices together.
        temperature: T, above 0.

    Returns:
        The opinion, in the order displayed; None if the mass is too small.
    """
    if mass(log_prob_C) < min_mass or np.isneginf(log_prob_C).all():
        return None
    first, second, *equal = scipy.special.softmax(np.asarray(log_prob_C, dtype=np.float64) / temperature).tolist()
    return first, second, sum(equal, 0.0)


def mass(log_prob_C: Sequence[float]) -> float:
    """Return the probability of all choices together."""
    return float(np.exp(scipy.special.logsumexp(log_prob_C)))


def turned(found: Opinion | None) -> Opinion | None:
    """Return an opinion in the pair's own order, given the one on the pair displayed the other way round."""
    return None if found is None else (found[1], found[0], found[2])
