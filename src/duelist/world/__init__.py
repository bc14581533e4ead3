"""Synthetic environment with a known reward, used by the quickstart, by tests and to benchmark selection rules.

The environment has C kinds of prompt, some common and some rare (Zipf's law). A prompt is a kind's word followed by
detail words without meaning: `kind3 detail17 detail2 detail30`. A response is a few words of one shared vocabulary
of V words: `word5 word41 word5 word9`. Each kind has its own rule: its own utility in [0, 1] for each of the V words,
its own *preferred* style (a few words of high utility) and its own *other* style (a few words of lower utility). The
preferences of one kind carry no information about another.

`prepare` writes the environment: prompts, held-out prompts, the rules and a tiny Llama. TRL's `SFTTrainer` fine-tunes
the Llama on demonstrations that use a kind's two styles equally often. Its responses are well formed, but it does not
know which style is preferred; comparisons can teach it. Nothing is downloaded and no GPU is used.

`reward` is the oracle, a reward function for TRL. It adds no noise. A noisy annotator prefers response a with
probability σ(scale · (reward_a − reward_b)) (Bradley–Terry).
"""

from __future__ import annotations

from duelist.world.building import prepare
from duelist.world.oracle import reward
from duelist.world.settings import WorldSettings

__all__ = ["WorldSettings", "prepare", "reward"]
