"""Decoding by a server: a real one on this machine's loopback, which serves the tiny model as vLLM would."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from duelist import Study
from duelist.errors import DataError, ModelError, RecipeError
from duelist.models.decoding.local import Decoder, Decoding, LocalDecoder, ResponseRequest
from duelist.models.decoding.server import ServerDecoder
from duelist.models.decoding.server_config import ServerConfig
from duelist.models.policy.config import PolicyConfig
from duelist.models.policy.policy import Policy
from duelist.progress import Silent
from duelist.recipe.reading import parse_recipe
from duelist.types import Prompt
from tiers import first_rows

BASE = "tiny"
HOW = Decoding(max_new_tokens=5, temperature=1.0, top_p=1.0)


class Server:
    """Serves a base model and the adapters that are loaded into it; counts what it is asked."""

    def __init__(self, model: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(model)
        self.adapters: dict[str, Any] = {}
        self.completions: list[dict[str, Any]] = []
        self.fail: list[int] = []  # statuses of the next answers, before it serves again
        self.with_token_ids = True
        self.can_unload = True
        self.choices: list[dict[str, Any]] | None = None  # what is answered in place of its own
        self.body: bytes | None = None  # what is answered in place of JSON
        self.dies_after: int | None = None  # completions
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(200, {"data": [{"id": name} for name in (BASE, *outer.adapters)]})

            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    if outer.fail:
                        self.answer(outer.fail.pop(0), {"error": "told to fail"})
                    elif self.path == "/v1/load_lora_adapter":
                        outer.load(content["lora_name"], content["lora_path"])
                        self.answer(200, None)
                    elif self.path == "/v1/unload_lora_adapter":
                        known = outer.can_unload and outer.adapters.pop(content["lora_name"], None) is not None
                        self.answer(200 if known else 404, None)
                    elif content["model"] not in (BASE, *outer.adapters):
                        self.answer(404, {"error": "no such model"})
                    else:
                        self.answer(200, outer.complete(content))
                    if len(outer.completions) == outer.dies_after:
                        outer.dies_after = None
                        threading.Thread(target=outer.close).start()

            def answer(self, status: int, content: Any) -> None:
                body = b"Success" if content is None else json.dumps(content).encode()
                body = outer.body if outer.body is not None and self.path == "/v1/completions" else body
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def load(self, name: str, path: str) -> None:
        base = AutoModelForCausalLM.from_pretrained(self.model.name_or_path)
        self.adapters[name] = PeftModel.from_pretrained(base, path).eval()

    def complete(self, content: dict[str, Any]) -> dict[str, Any]:
        self.completions.append(content)
        model = self.model if content["model"] == BASE else self.adapters[content["model"]]
        rng, drawn, reason = np.random.default_rng(content["seed"]), [], "length"
        for _ in range(content["max_tokens"]):
            with torch.no_grad():
                p = model(torch.tensor([content["prompt"] + drawn])).logits[0, -1].double().softmax(-1).numpy()
            if content["top_k"] > 0:
                p[np.argsort(p)[: -content["top_k"]]] = 0
            greedy = content["temperature"] == 0
            drawn.append(int(p.argmax() if greedy else rng.choice(len(p), p=p / p.sum())))
            if drawn[-1] in content["stop_token_ids"]:
                reason = "stop"
                break
        choice = {"text": "", "finish_reason": reason}
        if self.choices is not None:
            return {"choices": self.choices}
        return {"choices": [{**choice, "token_ids": drawn} if self.with_token_ids else choice]}


@contextmanager
def serving(model: Path) -> Iterator[Server]:
    server = Server(model)
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


@pytest.fixture
def server(tiny_model: Path) -> Iterator[Server]:
    with serving(tiny_model) as server:
        yield server


@pytest.fixture
def policy(tiny_model: Path) -> Policy:
    lora = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    policy = Policy.load(PolicyConfig(model=str(tiny_model), lora=lora, device="cpu"), seed=1)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            parameter.data = (parameter.data.flatten() + 0.3).cumsum(0).sin().view_as(parameter)
    return policy


@pytest.fixture
def orders() -> list[ResponseRequest]:
    prompts = [Prompt.of([{"role": "user", "content": f"w{i} w{i + 1}"}]) for i in range(6)]
    return [ResponseRequest(p, drawn_from) for p in prompts for drawn_from in ("policy", "reference", "policy")]


STUDY = Path("/studies/one")


def decoder(server: Server, policy: Policy, folder: Path, study: Path = STUDY, **changes: Any) -> ServerDecoder:
    settings = {"url": server.url, "model": BASE, "adapter_folder": str(folder), "concurrency": 4, **changes}
    return ServerDecoder(ServerConfig.model_validate(settings), policy, study)


def draw(decoder: Decoder, orders: list[ResponseRequest], seed: int = 3, how: Decoding = HOW) -> list[Any]:
    return decoder.draw(orders, how, round=2, seed=seed, progress=Silent(), what="Sampling")


def test_responses_are_the_tokens_that_the_named_model_drew(
    server: Server, policy: Policy, orders: list[ResponseRequest], tmp_path: Path
) -> None:
    drawn = draw(decoder(server, policy, tmp_path), orders)
    assert [r.prompt_id for r in drawn] == [o.prompt.id for o in orders]
    adapter = next(iter(server.adapters))
    assert {c["model"] for c in server.completions} == {BASE, adapter}
    # The adapter there is the policy: the same log-probabilities.
    ids = torch.tensor([[*drawn[0].prompt_token_ids, *drawn[0].token_ids]])
    with torch.no_grad():
        torch.testing.assert_close(server.adapters[adapter](ids).logits, policy.model(ids).logits)
        assert not torch.allclose(server.model(ids).logits, policy.model(ids).logits)
    again = draw(decoder(server, policy, tmp_path), orders)
    assert again == drawn and len(server.adapters) == 1  # seeded, and loaded once
    assert draw(decoder(server, policy, tmp_path), orders, seed=4) != drawn
    # Two orders for one prompt are two draws.
    assert len({r.token_ids for r in drawn}) > 6


@pytest.mark.parametrize("how", [{"temperature": 0.0}, {"top_k": 1, "temperature": 0.8}])
def test_greedy_tokens_are_those_of_this_process(
    server: Server, policy: Policy, orders: list[ResponseRequest], tmp_path: Path, how: dict[str, Any]
) -> None:
    greedy = Decoding(max_new_tokens=5, **how)
    drawn = draw(decoder(server, policy, tmp_path), orders, how=greedy)
    assert drawn == draw(LocalDecoder(policy), orders, how=greedy)
    assert len({r.token_ids for r, o in zip(drawn, orders, strict=True) if o.drawn_from == "policy"}) > 1


def test_a_request_says_all_that_shapes_the_distribution(
    server: Server, policy: Policy, orders: list[ResponseRequest], tmp_path: Path
) -> None:
    """What it left open, vLLM would take from the model's generation_config.json."""
    none = {"min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    for how, said in (
        (HOW, {"temperature": 1.0, "top_p": 1.0, "top_k": -1}),
        (Decoding(5, temperature=0.7, top_p=0.9, top_k=50), {"temperature": 0.7, "top_p": 0.9, "top_k": 50}),
        (Decoding(5, temperature=0.0), {"temperature": 0.0, "top_p": 1.0, "top_k": -1}),
    ):
        server.completions.clear()
        draw(decoder(server, policy, tmp_path), orders[:2], how=how)
        assert len(server.completions) == 2
        assert all({**said, **none}.items() <= body.items() for body in server.completions)


def move(policy: Policy) -> None:
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            parameter.data += 0.1


def test_a_policy_that_moved_is_loaded_anew_in_place_of_the_one_before(
    server: Server, policy: Policy, orders: list[ResponseRequest], tmp_path: Path
) -> None:
    draw(decoder(server, policy, tmp_path), orders[:1])
    draw(decoder(server, policy, tmp_path, Path("/studies/two")), orders[:1])  # an equal adapter, another study's
    first, other = server.adapters
    move(policy)
    with decoder(server, policy, tmp_path) as moved:
        draw(moved, orders[:1])
    assert all(s._client.is_closed for s in moved._servers) and moved.notes == []
    assert len(server.adapters) == 2 and other in server.adapters and first not in server.adapters
    assert {x.name for x in tmp_path.iterdir()} == set(server.adapters)


def test_an_adapter_that_cannot_be_unloaded_is_a_note(
    server: Server, policy: Policy, orders: list[ResponseRequest], tmp_path: Path
) -> None:
    draw(decoder(server, policy, tmp_path), orders[:1])
    move(policy)
    server.can_unload = False
    moved = decoder(server, policy, tmp_path)
    assert len(draw(moved, orders)) == len(orders)
    assert len(moved.notes) == 1 and "unload_lora_adapter answered 404" in moved.notes[0]
    assert {x.name for x in tmp_path.iterdir()} == set(server.adapters) and len(server.adapters) == 2


def test_two_servers_share_a_round_and_one_dies_in_the_middle_of_it(
    server: Server, tiny_model: Path, policy: Policy, orders: list[ResponseRequest], tmp_path: Path
) -> None:
    alone = draw(decoder(server, policy, tmp_path), orders)
    server.completions.clear()
    with serving(tiny_model) as second:
        second.dies_after = 3
        both = decoder(server, policy, tmp_path, url=[server.url, second.url], retries=0, concurrency=2)
        assert draw(both, orders) == alone
        assert 3 <= len(second.completions) < len(orders)
        assert len(both.notes) == 1 and second.url in both.notes[0]
        # It stays away in the next round as well, and says so only if it was lost again.
        assert draw(both, orders) == alone


def test_a_server_that_was_started_anew_is_given_its_adapters_again(
    server: Server, tiny_model: Path, policy: Policy, orders: list[ResponseRequest], tmp_path: Path
) -> None:
    alone = draw(decoder(server, policy, tmp_path), orders)
    with serving(tiny_model) as second:
        complete = second.complete

        def forgetting(content: dict[str, Any]) -> dict[str, Any]:
            answer = complete(content)
            if len(second.completions) == 2:
                second.adapters.clear()
            return answer

        second.complete = forgetting  # type: ignore[method-assign]
        both = decoder(server, policy, tmp_path, url=[server.url, second.url], concurrency=1)
        assert draw(both, orders) == alone
        assert list(second.adapters) == list(server.adapters)


def test_the_servers_are_named_when_all_fail(policy: Policy, orders: list[ResponseRequest], tmp_path: Path) -> None:
    settings = {"url": ["http://127.0.0.1:9/v1", "http://127.0.0.1:10/v1"], "model": BASE, "retries": 0}
    config = ServerConfig.model_validate({**settings, "adapter_folder": str(tmp_path)})
    with pytest.raises(
        ModelError, match=r"All 2 servers failed: http://127\.0\.0\.1:9/v1: .*; http://127\.0\.0\.1:10/v1"
    ):
        draw(ServerDecoder(config, policy, STUDY), orders)


@pytest.mark.parametrize(("url", "why"), [([], "an empty list"), (["http://a/v1", "http://a/v1"], "has one twice")])
def test_servers_are_named_once(tiny_recipe: dict[str, Any], url: list[str], why: str) -> None:
    with pytest.raises(RecipeError, match=why):
        parse_recipe({**tiny_recipe, "decoder": {"url": url, "model": BASE, "adapter_folder": "adapters"}})


@pytest.mark.parametrize("url", ["localhost:8000/v1", "http://", "http://[::1", "http://host:port/v1", "", "/v1"])
def test_what_is_no_url_is_refused_in_the_recipe(tiny_recipe: dict[str, Any], url: str) -> None:
    server = {"url": url, "model": BASE, "adapter_folder": "adapters"}
    with pytest.raises(RecipeError, match=r"decoder\.url.*must be a URL such as"):
        parse_recipe({**tiny_recipe, "decoder": server})


def test_mixed_distributions_are_refused_before_anything_is_drawn(
    server: Server, policy: Policy, orders: list[ResponseRequest], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"plus.*decoder: null"):
        draw(decoder(server, policy, tmp_path), [*orders, ResponseRequest(orders[0].prompt, "plus")])
    assert not server.completions and not server.adapters


def test_errors_are_tried_again_and_then_stop_the_round(
    server: Server, policy: Policy, orders: list[ResponseRequest], tmp_path: Path
) -> None:
    server.fail = [503, 500]
    expected = draw(decoder(server, policy, tmp_path), orders)
    assert len(expected) == len(orders)
    server.fail = [500] * 99
    with pytest.raises(ModelError, match=r"answered 500.*run the same command again"):
        draw(decoder(server, policy, tmp_path, concurrency=1), orders)
    server.fail = [400]  # a refusal is final
    with pytest.raises(ModelError, match=r"answered 400: .*told to fail"):
        draw(decoder(server, policy, tmp_path, concurrency=1), orders[:1])


def test_failing_over_is_noted(policy: Policy, orders: list[ResponseRequest], tmp_path: Path) -> None:
    settings = {"url": "http://127.0.0.1:9/v1", "model": BASE, "adapter_folder": str(tmp_path), "retries": 0}
    away = ServerDecoder(ServerConfig.model_validate(settings), policy, STUDY)
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:9.*on_failure"):
        draw(away, orders)
    assert away.notes == []
    local = ServerDecoder(ServerConfig.model_validate({**settings, "on_failure": "local"}), policy, STUDY)
    drawn = draw(local, orders)
    assert len(drawn) == len(orders)
    assert len(local.notes) == 1 and "decoded in this process instead" in local.notes[0]


def test_a_server_without_token_ids_or_the_model_is_refused(
    server: Server, policy: Policy, orders: list[ResponseRequest], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="'other' is not among tiny"):
        draw(decoder(server, policy, tmp_path, model="other"), orders)
    server.with_token_ids = False
    with pytest.raises(ModelError, match="return_token_ids"):
        draw(decoder(server, policy, tmp_path), orders)


@pytest.mark.parametrize(
    ("token_ids", "finish_reason"),
    first_rows(
        3,
        [
            ([3, 4], "abort"),
            ([3] * 6, "length"),
            ([9999] * 5, "length"),
            ([3, 4], "length"),
            ([3], None),
            (["3"], "stop"),
        ],
    ),
)
def test_what_is_no_whole_response_is_a_failure(
    server: Server,
    policy: Policy,
    orders: list[ResponseRequest],
    tmp_path: Path,
    token_ids: list[Any],
    finish_reason: str | None,
) -> None:
    server.choices = [{"token_ids": token_ids, "finish_reason": finish_reason}]
    with pytest.raises(ModelError, match=r"must end, or reach 5 .* run the same command again"):
        draw(decoder(server, policy, tmp_path), orders)
    local = decoder(server, policy, tmp_path, on_failure="local")
    assert len(draw(local, orders)) == len(orders)
    assert "finish_reason" in local.notes[0]


def test_an_end_that_the_server_leaves_out_is_put_back(
    server: Server, policy: Policy, orders: list[ResponseRequest], tmp_path: Path
) -> None:
    end = policy.tokenizer.eos_token_id
    for token_ids, expected in (([3, 4], (3, 4, end)), ([], (end,)), ([3, end, 4], (3, end)), ([3] * 5, (3,) * 5)):
        server.choices = [{"token_ids": token_ids, "finish_reason": "stop"}]
        assert draw(decoder(server, policy, tmp_path), orders[:1])[0].token_ids == expected


@pytest.mark.parametrize("choices", [[], [{"token_ids": [3], "finish_reason": "stop"}] * 2, [None], "ab", {"0": 1}])
def test_one_choice_is_what_is_asked_for(
    server: Server, policy: Policy, orders: list[ResponseRequest], tmp_path: Path, choices: Any
) -> None:
    server.choices = choices
    with pytest.raises(ModelError, match="one choice"):
        draw(decoder(server, policy, tmp_path), orders)


@pytest.mark.parametrize("body", [b'{"choices": [{"tok', b"<html>", b"[1]"])
def test_an_answer_that_is_cut_or_no_json_is_a_failure(
    server: Server, policy: Policy, orders: list[ResponseRequest], tmp_path: Path, body: bytes
) -> None:
    server.body = body
    with pytest.raises(ModelError, match=r"must answer with JSON.*run the same command again"):
        draw(decoder(server, policy, tmp_path), orders)
    local = decoder(server, policy, tmp_path, on_failure="local")
    assert len(draw(local, orders)) == len(orders) and len(local.notes) == 1


def test_the_models_own_generation_defaults_are_overruled(
    server: Server, policy: Policy, orders: list[ResponseRequest], tmp_path: Path
) -> None:
    draw(decoder(server, policy, tmp_path), orders[:1])
    sent = server.completions[0]
    nothing = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    assert {k: sent[k] for k in nothing} == nothing


def test_prompts_that_are_too_long_are_refused(server: Server, policy: Policy, tmp_path: Path) -> None:
    long = Prompt.of([{"role": "user", "content": " ".join(["w1"] * 90)}])
    with pytest.raises(DataError, match="max_new_tokens=5"):
        draw(decoder(server, policy, tmp_path), [ResponseRequest(long)])


def test_a_key_that_is_named_must_be_there(
    server: Server, policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SERVER_KEY", raising=False)
    with pytest.raises(RecipeError, match="SERVER_KEY"):
        decoder(server, policy, tmp_path, api_key_variable="SERVER_KEY")


@pytest.mark.full
def test_a_study_draws_from_a_server_and_goes_on_where_it_failed(
    server: Server, tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    folder = str(tmp_path / "adapters")
    settings = {"url": server.url, "model": BASE, "adapter_folder": folder, "retries": 0, "concurrency": 4}
    recipe = parse_recipe({**tiny_recipe, "rounds": 2, "decoder": settings})
    with Study.create(tmp_path / "study", recipe) as study:
        study.ask()
        study.tell(study.stages.components.annotator.annotate(study.ask(), 0, Silent()))
        study.update()
        drawn = len(server.completions)
        server.fail = [500]
        with pytest.raises(ModelError, match="500"):
            study.ask()
    asked = len(server.completions)
    with Study.open(tmp_path / "study") as study:
        study.run()
        assert study.rounds_left == 0
        assert {x.question.drawn_from for x in study.store.asked()} == {("policy", "policy")}
    # Round 1 was drawn once; round 2 anew, from the adapter that round 1 trained, and no other is left on the server.
    first, second = server.completions[:drawn], server.completions[asked:]
    assert len(second) == len(first)
    assert len({c["model"] for c in first}) == len({c["model"] for c in second}) == 1
    assert list(server.adapters) == [second[0]["model"]] != [first[0]["model"]]
