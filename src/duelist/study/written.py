"""Better answers that annotators wrote, after both responses of a pair were bad: two preferences for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from duelist.models.policy.policy import Policy
from duelist.models.policy.tokenization import check_length, encode_responses
from duelist.types import Answer, Label, Origins, Preference, Prompt, Question, Response


def written_preferences(
    answers: Sequence[Label | Answer],
    questions: Mapping[str, Question],
    prompts: Mapping[str, Prompt],
    policy: Policy | None,
) -> list[Preference]:
    """Return the preferences of written answers over both responses of their pairs, sorted by pair and annotator.

    Their origin is `written`. A pair that crosses prompts gives none, because the answer's prompt is not known.

    Args:
        answers: the answers that count.
        questions: their questions, by id.
        prompts: the prompts, by id.
        policy: the policy, whose tokenizer makes the tokens that it is trained on; None if a reward model is trained
            without one, which reads the text.

    Raises:
        DataError: if an answer does not fit the model's context.
    """
    found = []
    for label in answers:
        if not isinstance(label, Label) or label.better is None:
            continue
        pair = questions[label.pair_id]
        if pair.a.prompt_id != pair.b.prompt_id:
            continue
        prompt = prompts[pair.a.prompt_id]
        written = Response.of(prompt, label.better, *_tokens(policy, prompt, label), pair.round)
        for bad, origin in zip(pair.responses, pair.drawn_from or (None, None), strict=True):
            if bad.text != written.text:
                pair_id = Question.pair(written, bad, pair.round).id
                origins: Origins | None = None if origin is None else ("written", origin)
                item = Preference(prompt, written, bad, pair_id, label.annotator, 1.0, pair.weight, origins)
                found.append(item)
    return sorted(found, key=lambda p: (p.pair_id, p.annotator))


def _tokens(policy: Policy | None, prompt: Prompt, label: Label) -> tuple[Sequence[int], Sequence[int]]:
    if policy is None:
        return [], [0]
    assert label.better is not None
    prompt_ids, (ids,) = encode_responses(policy.tokenizer, prompt, [label.better])
    where = f"the answer that {label.annotator} wrote to pair {label.pair_id}"
    check_length(prompt, len(prompt_ids) + len(ids), policy.context_length, where)
    return prompt_ids, ids
