"""Table of short names and dotted paths, and the interface of each kind. Strings, imported only when used."""

from __future__ import annotations

# Base class of every component of a kind.
INTERFACES: dict[str, str] = {
    "sampler": "duelist.samplers.base:Sampler",
    "pairing": "duelist.pairing.base:Pairing",
    "featurizer": "duelist.featurizers.base:Featurizer",
    "acquisition": "duelist.acquisition.base:Acquisition",
    "annotator": "duelist.annotators.base:Annotator",
    "trainer": "duelist.trainers.base:Trainer",
    "reward": "duelist.models.rewards.functions:Reward",
    "engine": "duelist.engines.base:Engine",
}

COMPONENTS: dict[str, dict[str, str]] = {
    "sampler": {
        "vanilla": "duelist.samplers.vanilla:Vanilla",
        "pilaf": "duelist.samplers.pilaf:Pilaf",
        "t_pilaf": "duelist.samplers.t_pilaf:TPilaf",
        "best_of_n": "duelist.samplers.best_of_n:BestOfN",
        "hybrid": "duelist.samplers.hybrid:Hybrid",
        "dataset": "duelist.samplers.dataset:DatasetSampler",
    },
    "pairing": {
        "cross_prompt": "duelist.pairing.cross_prompt:CrossPrompt",
        "in_prompt": "duelist.pairing.in_prompt:InPrompt",
        "as_drawn": "duelist.pairing.as_drawn:AsDrawn",
        "as_given": "duelist.pairing.as_given:AsGiven",
    },
    "featurizer": {
        "margin": "duelist.featurizers.margin:Margin",
        "embedding": "duelist.featurizers.embedding:Embedding",
        "reward_head": "duelist.featurizers.reward_head:RewardHead",
        "gradient": "duelist.featurizers.gradient:Gradient",
    },
    "acquisition": {
        "random": "duelist.acquisition.random:Random",
        "activedpo": "duelist.acquisition.activedpo:ActiveDPO",
        "margin": "duelist.acquisition.margin:Margin",
        "entropy": "duelist.acquisition.margin:Entropy",
        "maxdiff": "duelist.acquisition.margin:MaxDiff",
        "aplp": "duelist.acquisition.aplp:APLP",
        "thompson": "duelist.acquisition.thompson:Thompson",
        "drts": "duelist.acquisition.thompson:DoubleReverseThompson",
        "delta_ucb": "duelist.acquisition.dueling:DeltaUCB",
        "max_min_lcb": "duelist.acquisition.dueling:MaxMinLCB",
        "info_max": "duelist.acquisition.dueling:InfoMax",
        "bald": "duelist.acquisition.bald:BALD",
        "batchbald": "duelist.acquisition.batchbald:BatchBALD",
        "information": "duelist.acquisition.information:Information",
        "policy_gap": "duelist.acquisition.policy_gap:PolicyGap",
        "d_opt": "duelist.acquisition.d_opt:DOpt",
        "pa_d_opt": "duelist.acquisition.d_opt:PastAwareDOpt",
        "xtx": "duelist.acquisition.d_opt:XtX",
        "a_opt": "duelist.acquisition.a_v_opt:AOpt",
        "v_opt": "duelist.acquisition.a_v_opt:VOpt",
        "apo": "duelist.acquisition.apo:APO",
        "coreset": "duelist.acquisition.coreset:Coreset",
        "k_center": "duelist.acquisition.k_center:KCenter",
    },
    "annotator": {
        "reward_function": "duelist.annotators.reward:RewardFunctionAnnotator",
        "reward_model": "duelist.annotators.reward:RewardModelAnnotator",
        "dataset_labels": "duelist.annotators.dataset_labels:DatasetLabels",
        "people": "duelist.annotators.people:People",
        "judge": "duelist.annotators.judge:JudgeAnnotator",
        "cascade": "duelist.cascade.annotator:Cascade",
    },
    "trainer": {
        "bradley_terry": "duelist.trainers.bradley_terry:BradleyTerry",
        "dpo": "duelist.trainers.dpo:DPO",
        "rlhf": "duelist.trainers.rlhf:RLHF",
    },
    "reward": {
        "function": "duelist.models.rewards.functions:FunctionReward",
        "model": "duelist.models.rewards.functions:ModelReward",
    },
    "engine": {
        "local": "duelist.engines.local:Local",
        "ray": "duelist.engines.ray:RayEngine",
        "sharded": "duelist.engines.sharded:Sharded",
    },
}
