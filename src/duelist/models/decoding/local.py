"""Decoding from the policy, from its reference, or from a mixture of their logits at each token.

    policy     softmax(h_θ)                           reference  softmax(h_ref)
    plus       softmax((1 + β) h_θ − β h_ref)         minus      softmax((1 − β) h_θ + β h_ref)

h are the logits after the tokens drawn so far. They are mixed in float32 or better. Temperature, top-k and top-p apply
afterwards, in this order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from duelist.engines.base import Compute
from duelist.engines.local import in_process
from duelist.errors import NumericalError
from duelist.models.decoding.adapter_rows import rows_stay_apart
from duelist.models.decoding.next_token import Kind, Method, NextLogits, draw_tokens, mix, next_logits, takes_padding
from duelist.models.decoding.requests import Decoder, Decoding, ResponseRequest
from duelist.models.policy.model_configuration import computed_with
from duelist.models.policy.policy import Policy
from duelist.models.policy.positions import length_thresholds
from duelist.models.policy.tokenization import check_length, prompt_token_ids, require_chat_template
from duelist.models.policy.trained_flags import frozen
from duelist.models.policy.vocabulary import check_vocabulary
from duelist.progress import Progress
from duelist.types import Distribution, Prompt, Response


class LocalDecoder(Decoder):
    """Decoder for the current policy (its adapter on or off), which supports every distribution.

    A drawn response depends on the seed and the request's position, not on its batch (except for rounding).

    Args:
        policy: the policy.
        method: how a mixture of policy and reference is computed.
        compute: computes the batches (`Models.map`); None: this process, with `policy`.
    """

    def __init__(self, policy: Policy, method: Method = "auto", compute: Compute[Policy] | None = None) -> None:
        self.policy = policy
        self._method: Method = method
        self._compute = compute or in_process(policy)

    def draw(
        self, wanted: Sequence[ResponseRequest], how: Decoding, *, round: int, seed: int, progress: Progress, what: str
    ) -> list[Response]:
        policy = self.policy
        prompts = {r.prompt.id: r.prompt for r in wanted}
        require_chat_template(policy.tokenizer, list(prompts.values()), policy.name)
        ids = {i: prompt_token_ids(policy.tokenizer, p) for i, p in prompts.items()}
        check_vocabulary(policy.model.get_input_embeddings(), ids.values())
        for prompt_id, prompt in prompts.items():
            limit = f"max_new_tokens={how.max_new_tokens}"
            check_length(prompt, len(ids[prompt_id]) + how.max_new_tokens, policy.context_length, limit)
        policy.model.eval()
        method = self._method
        if method == "auto" and any(_kind(r.drawn_from) == "both" for r in wanted):
            with torch.inference_mode():
                method = "one_call" if rows_stay_apart(policy) else "two_calls"  # determined once, not for every batch
        drawn: list[Response | None] = [None] * len(wanted)
        lengths = [len(ids[r.prompt.id]) for r in wanted]
        pads = len(set(lengths)) > 1 and takes_padding(policy.model)
        planned = _batches(wanted, lengths, how, length_thresholds(policy.model.config), pads)
        batches = [
            DecodingBatch(kind, rows, [ids[wanted[i].prompt.id] for i in rows], [wanted[i].drawn_from for i in rows])
            for kind, rows in planned
        ]
        with progress.stage(what, len(wanted)) as advance:
            computed = self._compute(DrawTokens(how, method, seed), batches, progress)
            for batch, tokens in zip(batches, computed, strict=True):
                for i, before, token_ids in zip(batch.rows, batch.prompt_ids, tokens, strict=True):
                    text = policy.tokenizer.decode(token_ids, skip_special_tokens=True)
                    drawn[i] = Response.of(wanted[i].prompt, text, before, token_ids, round)
                advance(len(batch.rows))
        return [r for r in drawn if r is not None]


@final
@dataclass(frozen=True)
class DecodingBatch:
    """Requests that are decoded together.

    Attributes:
        kind: the models that they need.
        rows: their positions among all requests, which determine what is drawn.
        prompt_ids: the tokens of their prompts.
        drawn_from: the distributions to draw from.
    """

    kind: Kind
    rows: Sequence[int]
    prompt_ids: Sequence[Sequence[int]]
    drawn_from: Sequence[Distribution]


@final
@dataclass(frozen=True)
class DrawTokens:
    """Decoding of one batch: the tokens of each response, with the one that ends it."""

    how: Decoding
    method: Method
    seed: int

    def __call__(self, policy: Policy, batch: DecodingBatch) -> list[list[int]]:
        policy.model.eval()
        room = self.how.max_new_tokens
        uniform_BT = np.stack([np.random.default_rng((self.seed, i)).random(room) for i in batch.rows])
        with torch.inference_mode(), next_logits(policy, batch.kind, self.method) as run:
            return _decode(policy, run, batch, self.how, uniform_BT)


def _decode(
    policy: Policy, run: NextLogits, batch: DecodingBatch, how: Decoding, uniform_BT: NDArray[np.float64]
) -> list[list[int]]:
    device = policy.device
    stop = torch.tensor(sorted(policy.stop_token_ids), device=device)
    weights_B2 = torch.tensor([_weights(kind, how.beta) for kind in batch.drawn_from], dtype=torch.float64).to(device)
    uniform = torch.from_numpy(uniform_BT).to(device)
    tokens_BT = torch.zeros((len(batch.rows), how.max_new_tokens), dtype=torch.long, device=device)
    usable = torch.ones((), dtype=torch.bool, device=device)
    logits, mask = _read(policy, run, batch.prompt_ids)
    rows = torch.arange(len(batch.rows), device=device)  # rows still in the batch
    done = torch.zeros(len(batch.rows), dtype=torch.bool, device=device)
    for t in range(how.max_new_tokens):
        mixed_BV = mix(*logits, weights_B2[rows])
        token_B, usable_B = draw_tokens(mixed_BV, uniform[rows, t], how.temperature, how.top_p, how.top_k)
        usable = usable & (usable_B | done).all()
        tokens_BT[rows, t] = token_B
        done = done | torch.isin(token_B, stop)
        going_on = len(done) - int(done.sum())
        if going_on == 0 or t + 1 == how.max_new_tokens:
            break
        if 2 * going_on <= len(done):  # remove ended rows, which cost as much as others
            index = (~done).nonzero()[:, 0]
            run.keep_rows(index)
            rows, mask, token_B, done = rows[index], mask[index], token_B[index], done[index]
        mask = torch.cat([mask, mask.new_ones((len(rows), 1))], dim=1)
        logits = run(token_B[:, None], mask)
    if not bool(usable):
        raise NumericalError(
            f"Logits must be finite, but {policy.name} gave others while responses were drawn: look for "
            "diverged weights (lower the learning rate), or load the model in bfloat16 or float32."
        )
    return [_up_to_stop(row, policy.stop_token_ids) for row in tokens_BT.tolist()]


def _read(
    policy: Policy, run: NextLogits, prompt_ids: Sequence[Sequence[int]]
) -> tuple[tuple[torch.Tensor | None, torch.Tensor | None], torch.Tensor]:
    """Read each distinct prompt once. Return, for every row, the logits after its prompt and the mask."""
    device, pad = policy.device, policy.tokenizer.pad_token_id
    place: dict[tuple[int, ...], int] = {}
    index = [place.setdefault(tuple(ids), len(place)) for ids in prompt_ids]
    width = max(map(len, place))
    ids_XL = torch.tensor([[pad] * (width - len(p)) + list(p) for p in place], device=device)
    mask_XL = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in place], device=device)
    own, reference = run(ids_XL, mask_XL)
    if len(place) == len(index):
        return (own, reference), mask_XL
    index_B = torch.tensor(index, device=device)
    run.keep_rows(index_B)
    logits = (None if own is None else own[index_B], None if reference is None else reference[index_B])
    return logits, mask_XL[index_B]


def policy_is_reference(policy: Policy, prompt: Prompt) -> bool:
    """Return whether the policy equals its reference.

    If the reference is a separate model, weights and configuration are compared, because equal weights at two memory
    locations may give different last bits of the logits. If it is another state of the same model, the logits after one
    prompt must be the same bit for bit.
    """
    reference = policy.weights.reference_model
    if reference is not None:
        own, theirs = policy.model.state_dict(), reference.state_dict()
        if own.keys() != theirs.keys() or computed_with(policy.model.config) != computed_with(reference.config):
            return False
        return all(w.dtype == theirs[n].dtype and torch.equal(w, theirs[n].to(w.device)) for n, w in own.items())
    ids = torch.tensor([prompt_token_ids(policy.tokenizer, prompt)], device=policy.device)
    mask = torch.ones_like(ids)
    policy.model.eval()

    def logits(kind: Kind) -> torch.Tensor | None:
        # torch may use other kernels if a parameter requires gradients.
        with torch.inference_mode(), next_logits(policy, kind) as run, frozen(policy.model):
            own, reference = run(ids, mask)
        return own if reference is None else reference

    own_BV, reference_BV = logits("policy"), logits("reference")
    return own_BV is not None and reference_BV is not None and torch.equal(own_BV, reference_BV)


def _weights(drawn_from: Distribution, beta: float) -> tuple[float, float]:
    """Return the weights of h_θ and h_ref; PILAF (arXiv 2502.04270), Section 5."""
    return {"plus": (1 + beta, -beta), "minus": (1 - beta, beta), "reference": (0.0, 1.0)}.get(drawn_from, (1.0, 0.0))


def _kind(drawn_from: Distribution) -> Kind:
    return "both" if drawn_from in ("plus", "minus") else "reference" if drawn_from == "reference" else "policy"


def _batches(
    wanted: Sequence[ResponseRequest], lengths: Sequence[int], how: Decoding, thresholds: Sequence[int], pads: bool
) -> list[tuple[Kind, list[int]]]:
    """Return batches of positions in `wanted`, grouped by required models and sorted by length for little padding.

    Rows that may pass a length threshold share a batch only if they pass it at the same token. Without `pads`, all rows
    of a batch have the same length.
    """

    def company(i: int) -> tuple[object, ...]:
        n = lengths[i]
        return (None if pads else n, *((n > t, n if n <= t < n + how.max_new_tokens else 0) for t in thresholds))

    found: list[tuple[Kind, list[int]]] = []
    for kind in sorted({_kind(r.drawn_from) for r in wanted}):
        rows = sorted((i for i, r in enumerate(wanted) if _kind(r.drawn_from) == kind), key=lambda i: lengths[i])
        for _, group in groupby(rows, key=company):
            some = list(group)
            found += [(kind, some[start : start + how.batch_size]) for start in range(0, len(some), how.batch_size)]
    return found


def _up_to_stop(ids: list[int], stop: frozenset[int]) -> list[int]:
    return next((ids[: t + 1] for t, token in enumerate(ids) if token in stop), ids)
