"""What a batch that was selected one round ahead lost: the share of it that fresher features would have selected."""

from __future__ import annotations

from duelist.store import codecs
from duelist.study.stages import Stages


def kept_by_fresher_features(stages: Stages, t: int) -> dict[str, float]:
    """Return `lookahead_kept`: the share of round t's batch that is selected again with the model after round t − 1.

    The candidates, the rule and its random numbers are those of the batch; only the features and the answers behind
    them are a round fresher. It costs the features of the candidates once more.

    Returns:
        Nothing without lookahead, in round 1, and in rounds drawn at random, where nothing fresher is read.
    """
    recipe = stages.recipe
    needs = stages.choosing.needs(t)
    if not recipe.lookahead or t == 1 or not needs:
        return {}
    draws = stages.sample(t, stages.prompts(t))
    past = [x.question for x in stages.store.asked() if x.round < t]
    candidates = stages.folder.read(t, "pair", codecs.questions(draws))
    targets = stages.target(t) if "target_MD" in needs else []
    features = stages.choosing.features(t, t - 1, candidates, past, targets)
    picked = {candidates[i].id for i in stages.choosing.pick(t, candidates, features).selection.indices_B}
    asked = {x.question.id for x in stages.store.asked(t)}
    return {"lookahead_kept": len(picked & asked) / len(asked)}
