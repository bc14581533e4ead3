"""A small world whose reward is known exactly: for the quickstart, for tests, and to benchmark selection rules on.

The world has C kinds of prompt, some common and some rare (Zipf's law). A prompt is a kind's word followed by detail
words that mean nothing: `kind3 detail17 detail2 detail30`. A response is a few words of one shared vocabulary of V:
`word5 word41 word5 word9`. Each kind has its own rule: its own utility in [0, 1] for each of the V words, its own
*preferred* style (a few words of high utility) and its own *other* style (a few words of lower utility). What one kind
prefers tells nothing about another.

`prepare` writes such a world: prompts, held-out prompts, the rules, and a tiny Llama that was fine-tuned, by TRL's
`SFTTrainer`, on demonstrations that use a kind's two styles equally often. It thus answers well in form, and does not
know which of the two is wanted: that is what comparisons can teach it. Nothing is downloaded and no GPU is used.

`reward` is the oracle, as a reward function of TRL's. It adds no noise: a noisy annotator is made of it by deciding
each comparison with probability σ(scale · (reward_a − reward_b)) (Bradley–Terry).
"""

from __future__ import annotations

from duelist.world.building import prepare
from duelist.world.oracle import reward
from duelist.world.settings import WorldSettings

__all__ = ["WorldSettings", "prepare", "reward"]
