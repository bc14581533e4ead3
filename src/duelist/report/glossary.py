"""Words of the report that not every reader knows, with what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from duelist.evaluation.metrics import MetricSpec


@dataclass(frozen=True)
class Term:
    """A word, and its meaning in a sentence or two."""

    word: str
    meaning: str


TERMS = {
    "interval": Term(
        "95 % interval",
        "A range computed such that in 95 of 100 repetitions it contains the true value. It covers chance in what it "
        "names, such as the held-out prompts, and nothing else.",
    ),
    "seed": Term(
        "seed",
        "The number that every random choice of the study comes from. Another seed is another study: differences of "
        "one seed come and go.",
    ),
    "margin": Term(
        "margin",
        "The difference of the rewards that the model gives to two responses. A small one means that the model does "
        "not know which is better, or that both are equally good.",
    ),
    "implicit": Term(
        "implicit reward",
        "β · log(π(y|x) / π_ref(y|x)): how much more probable training made a response, which is the reward of DPO.",
    ),
    "ranking-accuracy": Term(
        "ranking accuracy",
        "Share of preferences that the model already ranked right before it was trained on them. Near ½, the "
        "questions told it something new. Margins of exactly 0 are left out: there the model says nothing.",
    ),
    "redundancy": Term(
        "redundancy",
        "Jaccard similarity of the tokens of a question's responses to those of the most similar question asked "
        "before: 1 is the same tokens, 0 none in common.",
    ),
    "score": Term("score", "What the rule ranked the question by, in the unit beside it."),
    "next-label": Term(
        "worth of the next label",
        "Rules that select by information bound what any remaining question can add: the gain of the best one left. "
        "When it is small, further labels are worth little. The second number is measured: what the last labels "
        "changed on held-out prompts.",
    ),
    "nats": Term("nat", "Unit of information: 1 nat is 1.44 bits."),
    "pool": Term("pool", "The candidate questions of a round. A fixed pool is drawn once; otherwise each round draws."),
    "map": Term(
        "map of the pool",
        "Each dot is a candidate question. Questions that share words lie near each other (latent semantic analysis "
        "of their tokens). The axes have no unit.",
    ),
    "control": Term("control slice", "Questions drawn at random beside the rule's, to measure what the rule is worth."),
    "position": Term(
        "position bias",
        "Choosing a response for its place on the screen. The share of choices for the first one should be near ½; a "
        "bias is reported if chance explains the distance in less than 5 % of cases, for all annotators together.",
    ),
    "alpha": Term(
        "Krippendorff's α",
        "Agreement corrected for chance: 1 if all agree, about 0 if they vote at random.",
    ),
    "cascade": Term(
        "cascade",
        "A cheap judge answers what people's votes certify that it answers well enough; people answer the rest.",
    ),
    "reading": Term(
        "expected time",
        "3.4 s for a question, 1.6 s for each comparison of two responses, and the tokens at 238 words a minute.",
    ),
}


def of_metrics(metrics: Sequence[MetricSpec]) -> dict[str, Term]:
    """Return the terms of metrics, by their names as addresses."""
    return {f"m-{m.name.replace('_', '-')}": Term(m.heading, m.meaning) for m in metrics if m.meaning}
