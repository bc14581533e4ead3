"""Recipes: defaults, overrides, placeholders, and the errors of bad keys and values."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from duelist import Study, load_recipe, parse_recipe
from duelist.errors import RecipeError
from duelist.preflight.examination import examine
from duelist.recipe.components import COMPONENTS
from duelist.recipe.reading import arms, preparation_settings, with_prepared
from duelist.recipe.recipe import recipe_content
from duelist.settings.validation import read_yaml, write_yaml

LEAST: dict[str, Any] = {
    "name": "least",
    "rounds": 2,
    "budget": 3,
    "prompts": {"path": "prompts.jsonl"},
    "policy": {"model": "model"},
}
OWN_RULE = """
import numpy as np
from pydantic import BaseModel, ConfigDict

from duelist import Acquisition, Selection


class ShortestConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    sign: int = -1


class Shortest(Acquisition):
    def __init__(self, config: ShortestConfig) -> None:
        self.sign = config.sign

    @property
    def needs(self):
        return frozenset()

    def select(self, features, budget, rng):
        score_N = self.sign * features.length_N2.sum(axis=1).astype(float)
        picked_B = np.argsort(-score_N, kind="stable")[:budget]
        return Selection(picked_B, score_N[picked_B], "tokens")


class Bare(Shortest):
    def __init__(self) -> None:
        self.sign = 1


class NotARule:
    pass


class Unfinished(Acquisition):
    pass


NOT_A_CLASS = 3
"""


@pytest.fixture
def own_rule(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(OWN_RULE)
    return f"{tmp_path}/mine.py"


def test_defaults_are_filled_in_for_components_too() -> None:
    content = recipe_content(parse_recipe(LEAST))
    expected = {"name": "policy_gap", "lambda": 1.0, "lambda_relative": True, "target": "drawn", "calibrate": True}
    assert content["acquisition"].items() >= expected.items()
    assert content["sampler"]["responses_per_prompt"] == 2
    assert content["trainer"]["reference"] == "initial"
    assert content["evaluation"]["temperature"] == 1.0


def test_the_content_of_a_recipe_is_that_recipe() -> None:
    recipe = parse_recipe(LEAST | {"acquisition": "random", "compare": {"active": {"acquisition": "activedpo"}}})
    text = yaml.safe_dump(recipe_content(recipe))
    assert parse_recipe(yaml.safe_load(text)) == recipe


def test_a_bare_name_and_bare_settings_stand_for_a_component() -> None:
    recipe = parse_recipe(LEAST | {"acquisition": "random", "sampler": {"max_new_tokens": 7}})
    assert recipe.acquisition.content() == {"name": "random"}
    assert recipe.sampler.name == "vanilla" and recipe.sampler.setting("max_new_tokens") == 7


@pytest.mark.parametrize("kind", sorted(set(COMPONENTS) - {"featurizer"}))
def test_every_short_name_resolves_or_says_which_setting_is_missing(kind: str) -> None:
    function, model = {"function": "math:sqrt"}, {"model": "m"}
    required: dict[str, dict[str, Any]] = {
        "reward_function": function, "function": function, "reward_model": model, "model": model,
        "dataset_labels": {"path": "p"}, "judge": model, "cascade": {"people": {"name": "people"}, "judge": model},
    }  # fmt: skip
    for name in COMPONENTS[kind]:
        settings = required.get(name, {})
        if settings:
            key = next(iter(settings))
            said = rf"The key `{key}` is required in {kind} '{name}'" if name != "judge" else "a judge must be one of"
            with pytest.raises(RecipeError, match=said):
                parse_recipe(LEAST | {kind: name})
        trainer = {"trainer": "bradley_terry"} if name == "cross_prompt" else {}
        assert getattr(parse_recipe(LEAST | trainer | {kind: {"name": name, **settings}}), kind).name == name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"budgte": 3}, "Unknown key `budgte` in the recipe. Did you mean 'budget'?"),
        ({"prompts": {"path": "x", "heldout": 3}}, "`prompts.heldout` in the recipe. Did you mean 'held_out'?"),
        ({"policy": {"model": "x", "dtpye": "float32"}}, "`policy.dtpye` in the recipe. Did you mean 'dtype'?"),
        ({"policy": {"model": "x", "lora": {"rank": 4}}}, "`rank` must be an argument of LoraConfig"),
        ({"policy": {"model": "x", "lora": {"lora_alhpa": 4}}}, "Did you mean 'lora_alpha'?"),
        ({"policy": {"model": "x", "lora": {"task_type": "X"}}}, "`task_type` must not be set here, but is 'X'"),
        ({"evaluation": {"max_tokenss": 3}}, "`evaluation.max_tokenss` in the recipe. Did you mean 'max_tokens'?"),
        ({"prepare": {"functoin": "x"}}, "`prepare.functoin` in the recipe. Did you mean 'function'?"),
        ({"sampler": {"max_new_token": 3}}, "`max_new_token` in sampler 'vanilla'. Did you mean 'max_new_tokens'?"),
        ({"acquisition": {"lamda": 3}}, "`lamda` in acquisition 'policy_gap'. Did you mean 'lambda'?"),
        ({"featurizers": {"gradient": {"dimensions": 3}}}, "in featurizer 'gradient'. Did you mean 'dimension'?"),
        ({"featurizers": {"gradeint": {}}}, "got 'gradeint'. Did you mean 'gradient'?"),
        ({"trainer": {"refrence": "initial"}}, "`refrence` in trainer 'dpo'. Did you mean 'reference'?"),
        (
            {"trainer": {"train": {"lerning_rate": 1}}},
            "of DPOConfig, but there is none of that name: correct or remove",
        ),
        ({"trainer": {"train": {"lerning_rate": 1}}}, "Did you mean 'learning_rate'?"),
        ({"trainer": {"train": {"beta": 0.2}}}, "`beta` must not be set here, but is 0.2: set the recipe's `beta`"),
        ({"trainer": {"train": {"seed": 1}}}, "`seed` must not be set here, but is 1: set the recipe's `seed`"),
        ({"trainer": {"train": {"max_length": 9}}}, "Duelist never cuts a sequence"),
        ({"trainer": {"train": {"output_dir": "x"}}}, "the study's folder holds what is trained"),
        (
            {"pairing": {"name": "as_drawn", "all": True}},
            "`pairing` 'as_drawn' has no settings, but got all: remove it",
        ),
        ({"zzz": 1}, "Valid keys: name, description, seed, rounds, budget"),
    ],
)
def test_an_unknown_key_is_refused_and_the_nearest_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(LEAST | change)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rounds": 0}, "`rounds` in the recipe: Input should be greater than or equal to 1, but got 0: change it."),
        ({"budget": "many"}, "but got 'many': change it. `budget` is: Questions asked per round, B."),
        ({"rounds": 10**9}, "`rounds` in the recipe: Input should be less than or equal to 1000000"),
        ({"budget": 10**10}, "less than or equal to 1000000000"),
        ({"torch_threads": 10**9}, "less than or equal to 4096"),
        ({"seed": 2**63}, "Every integer in a recipe must fit 64 bits, but `seed` does not"),
        ({"name": "\0"}, "must be Unicode without NUL characters, but `name` is"),
        ({"sampler": {"name": "\ud800"}}, "must be Unicode without NUL characters, but `sampler.name` is"),
        ({"name": "a\nb"}, "`name` must be printable text"),
        ({"name": " a"}, "`name` must be printable text"),
        ({"name": ""}, "`name` must be printable text"),
        ({"policy": {"model": "m", "load": {"max_memory": {0: "1GiB"}}}}, "`policy.load.max_memory` has the key 0"),
        ({1: 2}, "the recipe has the key 1"),
        ({"compare": {"x" * 61: {}}}, "An arm's name must be letters, digits, - and _, but got 'xxx"),
        ({"beta": -1}, "`beta` in the recipe: Input should be greater than 0, but got -1"),
        ({"beta": float("inf")}, "Every number in a recipe must be finite, but `beta` is inf: give a finite one."),
        ({"acquisition": {"lambda": float("inf")}}, "finite, but `acquisition.lambda` is inf"),
        ({"compare": {"x": {"trainer": {"train": {"warmup_steps": float("nan")}}}}}, "`compare.x.trainer.train.w"),
        ({"pool": "fresh"}, "Input should be 'regenerate' or 'fixed', but got 'fresh'"),
        ({"acquisition": ["random"]}, "`acquisition` in the recipe: Input should be a valid dictionary"),
        ({"acquisition": {"lambda": 0}}, "`lambda` in acquisition 'policy_gap': Input should be greater than 0"),
        ({"sampler": {"top_p": 1.5}}, "`top_p` in sampler 'vanilla': Input should be less than or equal to 1"),
        ({"acquisition": "activedop"}, "`acquisition.name` must be one of random, activedpo, "),
        ({"acquisition": "activedop"}, "but got 'activedop'. Did you mean 'activedpo'?"),
        ({"acquisition": "no_such_package:Rule"}, "install its package"),
        ({"acquisition": "duelist.acquisition.random:Randmo"}, "Did you mean 'Random'?"),
        ({"acquisition": "/nowhere/mine.py:Rule"}, "must exist at /nowhere/mine.py"),
        ({"acquisition": "math:pi"}, "`acquisition.name` must name a class, but math:pi is a float"),
        ({"annotator": {"choice": "hard"}}, "must say its `name`, but has only choice: add one of reward_function"),
        ({"compare": {"a b": {}}}, "An arm's name must be letters, digits, - and _, but got 'a b'"),
        ({"compare": {"x": {"acquisition": "rnadom"}}}, "`compare.x` is not. `acquisition.name` must be one of"),
        ({"compare": {"x": {"budgte": 1}}}, "`compare.x` is not. Unknown key `budgte`"),
    ],
)
def test_a_bad_value_is_refused_with_requirement_and_value(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(LEAST | change)
    assert said in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({"name": "x", "rounds": 0, "budgte": 1})
    assert len(str(caught.value).splitlines()) == 4  # rounds, budgte, and the missing budget and prompts


def test_overrides(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump(LEAST | {"description": "{recipe}/x", "acquisition": "activedpo"}))
    overrides = [
        "budget=5",
        "acquisition.lambda=2",
        "featurizers.gradient.dimension=16",
        "trainer.train.weight_decay=1e-2",
    ]
    recipe = load_recipe(file, [*overrides, "annotator=null", "evaluation={max_new_tokens: 3}", "description=a=b"])
    assert recipe.budget == 5 and recipe.acquisition.setting("lambda_") == 2 and recipe.annotator is None
    assert recipe_content(recipe)["featurizers"] == {
        "gradient": {"dimension": 16, "normalize": "response", "max_tokens": 8192}
    }
    assert recipe.trainer.setting("train") == {"weight_decay": 0.01}
    assert recipe.evaluation.max_new_tokens == 3 and recipe.description == "a=b"
    assert load_recipe(file).description == f"{tmp_path}/x"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("budget", "written `key.path=value`, as in `budget=100`, but got 'budget'"),
        ("=3", "written `key.path=value`"),
        ("budgte=3", "Did you mean 'budget'?"),
        ("acquisition.lamda=3", "Did you mean 'lambda'?"),
        ("budget.x=3", "needs a mapping at 'budget', but the recipe has 3: correct the key"),
        ("budget=[1", "The value of `--set budget=[1` must be YAML"),
        ("budget=x", "but got 'x'"),
        ("budget=1:30", "but got '1:30'"),
        ("budget={a: 1, a: 2}", "the key 'a' stands there twice"),
        (".".join("a" * 3000) + "=1", "A recipe has 32 levels at most"),
        ("policy.model=" + "x" * 5000, "`model` must be a path or a name"),
    ],
)
def test_a_bad_override_is_refused(tmp_path: Path, override: str, said: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump(LEAST))
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, [override])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name: [", "must be a readable YAML file"),
        (b"\xff\xfe\xfa", "must be a readable"),
        (b"- a", "holds a list"),
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"\0\1\2", "must be a readable"),
        (b"name: x\n#" + b"x" * 2**20, "more than 1,048,576 bytes"),
        (b"name: x\nbudget: 1\nname: y\n", r"the key 'name' stands there twice[\s\S]*line 3, column 1"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(RecipeError, match=said):
        load_recipe(tmp_path / "r.yaml")


def test_a_missing_recipe_names_the_nearest_shipped_one() -> None:
    with pytest.raises(RecipeError, match=r"there is no 'quickstrat'. Did you mean 'quickstart'\? `duelist recipes`"):
        load_recipe("quickstrat")


@pytest.mark.parametrize("name", ["prompts.jsonl", "pool.parquet"])
def test_data_in_place_of_a_recipe_leads_to_init(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"prompt": "a"}\n', encoding="utf-8")
    with pytest.raises(RecipeError, match=f"is data: `duelist init my-study.yaml --prompts .*{name}`"):
        load_recipe(tmp_path / name)


def test_numbers_with_an_exponent_are_numbers() -> None:
    assert read_yaml("[1e-5, 2E+3, -1e3, 1.5e-4, 1.0e-3]") == [1e-5, 2000.0, -1000.0, 1.5e-4, 1e-3]
    assert read_yaml("[e5, 1e, 1e-x, '1e-5', 12]") == ["e5", "1e", "1e-x", "1e-5", 12]


def test_plain_words_are_those_of_yaml_1_2() -> None:
    assert read_yaml("[on, no, yes, off, y, 1:30, 12:30:45.5, 2024-01-01, 1_000, 0o17, 010, 0x1F, =]") == [
        *("on", "no", "yes", "off", "y", "1:30", "12:30:45.5", "2024-01-01", "1_000", 15, 10, 31, "=")
    ]
    assert read_yaml("[true, False, ~, null, .5, -1., .inf, 1]") == [True, False, None, None, 0.5, -1.0, math.inf, 1]
    assert read_yaml("base: &b {x: 1, y: 2}\nown: {<<: *b, x: 3}")["own"] == {"x": 3, "y": 2}


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{c}: &{c} [{', '.join([f'*{b}'] * 9)}]\n" for b, c in pairwise("abcdefghijk")
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "more than 50000 values"),
        (BOMB.replace("[", "{<<: [").replace("]", "]}").replace("x, x, x, x, x, x, x, x, x", "{x: 1}"), "more than"),
        ("a: &a " + "x" * 90_000 + "\nb: [" + "*a, " * 1000 + "]", "more than 50000 values"),
        ("[" * 100_000, "more than 32 levels"),
        ("{a: " * 100_000, "more than 32 levels"),
        ("- " * 100_000, "more than 32 levels"),
        ("".join(f"{' ' * i}a:\n" for i in range(50)), "more than 32 levels"),
        ("a: &a [*a]", "more than 32 levels"),
        ("a: &a " + "[" * 20 + "]" * 20 + "\nb: " + "[" * 20 + "*a" + "]" * 20, "more than 32 levels"),
        ("a: *b", "undefined alias"),
        ("a: !!python/object/apply:os.system [ls]", "the tag"),
        ("a: !!timestamp 2024-01-01", "the tag"),
        ("1" * 5000, "an integer of 5000 digits"),
        ("a: {b: 1, c: {d: 1, d: 2}}", "the key 'd' stands there twice"),
        ("a: {<<: {x: 1}, <<: {y: 1}}", "the key '<<' stands there twice"),
        ("? [a]\n: b", "unhashable key"),
        ("a: 1\n---\nb: 1", "expected a single document"),
    ],
)
def test_yaml_that_no_recipe_has_is_refused_at_once(text: str, said: str) -> None:
    with pytest.raises(yaml.YAMLError, match=said):
        read_yaml(text)


WORDS = st.one_of(
    st.text(st.characters(codec="utf-8")), st.from_regex(r"[-+0-9:._eEoxXnyNYtf~<= ]{1,8}", fullmatch=True)
)


@given(st.recursive(WORDS | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False),
                    lambda part: st.lists(part) | st.dictionaries(WORDS, part), max_leaves=8))  # fmt: skip
def test_what_is_written_is_read_back(value: Any) -> None:
    """By this loader, and by the one of YAML 1.1 that other programs have."""
    assert read_yaml(write_yaml(value)) == yaml.safe_load(write_yaml(value)) == value


def test_arms_are_whole_recipes_that_differ_where_told() -> None:
    recipe = parse_recipe(LEAST | {"compare": {"random": {"acquisition": "random"}, "more": {"budget": 9}}})
    found = arms(recipe)
    assert found["random"].acquisition.content() == {"name": "random"} and found["random"].budget == 3
    assert found["more"].acquisition == recipe.acquisition and found["more"].budget == 9
    assert all(arm.compare == {} and arm.seed == recipe.seed for arm in found.values())


def test_prepared_is_replaced_wherever_it_stands() -> None:
    content = LEAST | {"prompts": {"path": "{prepared}/p.jsonl"}, "policy": {"model": "{prepared}/m"}}
    recipe = with_prepared(parse_recipe(content), Path("/made"))
    assert (recipe.prompts.path, recipe.policy.model) == ("/made/p.jsonl", "/made/m")


def test_the_seed_is_filled_into_what_is_prepared() -> None:
    settings = {"seed": "{seed}", "deep": [{"also": "{seed}"}], "path": "data-{seed}.jsonl", "n": 3, "none": None}
    recipe = parse_recipe(LEAST | {"seed": 7, "prepare": {"function": "duelist.world:prepare", "settings": settings}})
    filled = {"seed": 7, "deep": [{"also": 7}], "path": "data-7.jsonl", "n": 3, "none": None}
    assert preparation_settings(recipe) == filled
    assert recipe_content(recipe)["prepare"]["settings"] == settings  # the study's own recipe keeps the placeholder
    assert preparation_settings(parse_recipe(LEAST)) == {}


def test_studies_of_different_seeds_have_worlds_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A study prepares with the study's seed; the checks before a study look for that very folder."""
    from duelist.preflight.examination import examine
    from duelist.progress import Silent
    from duelist.study.components import StudyComponents, prepared

    monkeypatch.setenv("DUELIST_CACHE", str(tmp_path))
    changes = [f"prepare.settings.{k}={v}" for k, v in {"sft_steps": 1, "prompts": 30, "held_out": 24}.items()]
    texts = []
    for seed in (0, 1):
        recipe = load_recipe("quickstart", [*changes, f"seed={seed}", "budget=1"])
        texts.append([p.messages for p in StudyComponents(prepared(recipe, Silent())).prompts.train])
        assert examine(recipe).model is not None  # None before it is prepared
    assert texts[0] != texts[1]


def test_a_class_of_the_user_s_own_is_built_with_its_settings(own_rule: str) -> None:
    recipe = parse_recipe(LEAST | {"acquisition": {"name": f"{own_rule}:Shortest", "sign": 1}})
    assert recipe.acquisition.build().sign == 1
    assert parse_recipe(LEAST | {"acquisition": f"{own_rule}:Shortest"}).acquisition.setting("sign") == -1
    with pytest.raises(RecipeError, match="Did you mean 'sign'"):
        parse_recipe(LEAST | {"acquisition": {"name": f"{own_rule}:Shortest", "sgn": 1}})
    with pytest.raises(RecipeError, match=r"has no settings, but got sign: remove it"):
        parse_recipe(LEAST | {"acquisition": {"name": f"{own_rule}:Bare", "sign": 1}})


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({"name": "dpo", "train": {"optim": "adma"}}, r"`trainer\.train` must be arguments of trl\.DPOConfig, but it"),
        ({"name": "rlhf", "train": {"num_generations": 3, "per_device_train_batch_size": 4}}, r"trl\.RLOOConfig"),
        ({"name": "rlhf", "algorithm": "grpo", "train": {"num_generations": 1}}, r"trl\.GRPOConfig"),
        ({"name": "rlhf", "reward_model": {"train": {"optim": "adma"}}}, r"`trainer\.reward_model\.train` must be"),
    ],
)
def test_values_that_trl_refuses_are_refused_before_anything_is_asked(
    trainer: dict[str, Any], said: str, tiny_recipe: dict[str, Any]
) -> None:
    with pytest.raises(RecipeError, match=said):
        examine(parse_recipe(tiny_recipe | {"trainer": trainer}))


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        ("acquisition", "duelist.acquisition.base:Acquisition"),
        ("sampler", "duelist.samplers.base:Sampler"),
        ("pairing", "duelist.pairing.base:Pairing"),
        ("annotator", "duelist.annotators.base:Annotator"),
        ("trainer", "duelist.trainers.base:Trainer"),
        ("reward", "duelist.models.rewards.functions:Reward"),
    ],
)
def test_a_class_of_another_kind_is_refused(kind: str, base: str, own_rule: str) -> None:
    with pytest.raises(RecipeError, match=f"`{kind}.name` must name a subclass of {base}, but .*NotARule is none"):
        parse_recipe(LEAST | {kind: f"{own_rule}:NotARule"})
    with pytest.raises(RecipeError, match=r"Unfinished lacks needs, select: add it"):
        parse_recipe(LEAST | {"acquisition": f"{own_rule}:Unfinished"})


def test_a_study_with_a_rule_of_the_user_s_own(own_rule: str, tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = tiny_recipe | {"rounds": 1, "acquisition": {"name": f"{own_rule}:Shortest"}}
    with Study.create(tmp_path / "study", parse_recipe(recipe)) as study:
        batch = study.ask()
        lengths = [len(p.a.token_ids) + len(p.b.token_ids) for p in batch.pairs]
        assert np.array_equal(batch.scores_B, [-n for n in lengths])
        assert batch.unit == "tokens" and lengths == sorted(lengths)
