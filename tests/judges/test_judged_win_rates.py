"""Win rates by a judge on a server: what was judged before the evaluation ended is not paid for again."""

from __future__ import annotations

from pathlib import Path

import pytest
from chat_server import ChatServer, serving

from duelist.errors import BudgetError
from duelist.evaluation.win_rates import WinRateConfig, WinRates, judge_outputs, win_rates
from duelist.judges.of import judge_of
from duelist.progress import Silent
from duelist.types import Prompt

PROMPTS = [Prompt.of(f"Prompt {i}") for i in range(8)]
OUTPUTS = [f"mine {i} quality={i % 3}" for i in range(8)]
REFERENCES = [f"a longer one {i} quality={i % 4}" for i in range(7)] + OUTPUTS[7:]


def rates(server: ChatServer, folder: Path, **settings: int) -> WinRates:
    given = {"base_url": server.url, "model": "m", "concurrency": 1, "price_in": 10.0, **settings}
    judge = judge_of(WinRateConfig.model_validate(given), folder)
    judgements = judge_outputs(judge, PROMPTS, OUTPUTS, REFERENCES, seed=0, progress=Silent())
    return win_rates(judgements, OUTPUTS, REFERENCES, [p.id for p in PROMPTS], None, 0)


def test_an_evaluation_that_stopped_goes_on_for_free(tmp_path: Path) -> None:
    with serving(ChatServer()) as server:
        undisturbed = rates(server, tmp_path / "undisturbed")
        assert server.comparisons == 2 * 7  # both orders; equal texts are not asked about
        with pytest.raises(BudgetError):
            rates(server, tmp_path / "judge", max_tokens_total=800)
        partly = server.comparisons - 14
        assert 0 < partly < 14
        assert rates(server, tmp_path / "judge") == undisturbed
        assert server.comparisons == 2 * 14
        assert rates(server, tmp_path / "judge") == undisturbed
        assert server.comparisons == 2 * 14
    assert undisturbed.tokens == 14 * 102
    assert undisturbed.cost == pytest.approx(14 * 100 * 10 / 1e6)
    assert undisturbed.weighted is not None
    assert undisturbed.weighted.n == 8
