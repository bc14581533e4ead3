"""Better answers that annotators wrote, after both responses of a pair were bad: two preferences for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from duelist.models.policy.policy import Policy
from duelist.models.policy.tokenization import check_length, encode_responses
from duelist.store.decisions import written_answers
from duelist.types import Answer, Label, Origins, Preference, Prompt, Question, Response


def written_preferences(
    answers: Sequence[Label | Answer],
    questions: Mapping[str, Question],
    prompts: Mapping[str, Prompt],
    policy: Policy | None,
) -> list[Preference]:
    """Return the preferences of written answers over both responses of their pairs, sorted by pair and annotator.

    Their origin is `written`. `written_answers` says which labels give some.

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
    written: dict[str, Response] = {}
    for label, place in written_answers(answers, questions):
        pair = questions[label.pair_id]
        prompt, bad = prompts[pair.a.prompt_id], pair.responses[place]
        if label.id not in written:
            written[label.id] = _written(policy, prompt, label, pair.round)
        better = written[label.id]
        pair_id = Question.pair(better, bad, pair.round).id
        origins: Origins | None = None if pair.drawn_from is None else ("written", pair.drawn_from[place])
        found.append(Preference(prompt, better, bad, pair_id, label.annotator, 1.0, pair.weight, origins))
    return sorted(found, key=lambda p: (p.pair_id, p.annotator))


def _written(policy: Policy | None, prompt: Prompt, label: Label, round: int) -> Response:
    text = label.better
    assert text is not None
    if policy is None:
        return Response.of(prompt, text, [], [0], round)
    prompt_ids, (ids,) = encode_responses(policy.tokenizer, prompt, [text])
    where = f"the answer that {label.annotator} wrote to pair {label.pair_id}"
    check_length(prompt, len(prompt_ids) + len(ids), policy.context_length, where)
    return Response.of(prompt, text, prompt_ids, ids, round)
