"""`duelist rehearse` and `duelist audit` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_results import Command

import audit_world
from duelist import Study
from duelist.compare.arms import ArmSettings
from duelist.progress import Silent
from duelist.rehearsal.preparing import prepare_rehearsal
from duelist.rehearsal.rehearsal import planned
from duelist.rehearsal.rows import read_preferences


def written(path: Path, prompts: int = 12, pairs: int = 10) -> Path:
    """Preferences for the response with the words of quality."""
    rng = np.random.default_rng(0)
    rows = []
    for p in range(prompts):
        for i in range(pairs):
            good = " ".join(rng.choice(["clear", "kind", "exact", "so", "it"], 6))
            bad = " ".join(rng.choice(["vague", "rude", "wrong", "so", "it"], 6))
            rows.append({"prompt": f"p{p}", "chosen": f"{good} {i}", "rejected": f"{bad} {i} {p}"})
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


@pytest.mark.full
def test_a_rehearsal_of_finished_studies_speaks(duelist: Command, tmp_path: Path) -> None:
    """Its studies run here, as the processes that the command starts would run them."""
    file, folder = written(tmp_path / "mine.jsonl"), tmp_path / "out"
    words = ("rehearse", file, "-o", folder, "--rules", "v_opt", "--seeds", "0:2", "--labels", "16", "-j", "1")
    recipe = prepare_rehearsal(folder, read_preferences(str(file)), 16, None, Silent())
    for planned_study in planned(recipe, [ArmSettings("v_opt", ("acquisition=v_opt",))], [0, 1]):
        with Study.create(planned_study.folder, planned_study.recipe) as study:
            study.run()
    done = duelist(*words)
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert (
        "120 decided pairs on 12 prompts" in done.err
        and "2 seeds, 16 labels each: whether a rule saves labels cannot be told" in said
    )
    found = json.loads((folder / "rehearsal.json").read_text())
    assert [m["metric"] for m in found["metrics"]] == ["log_loss", "pair_accuracy"]
    assert (folder / "table.md").is_file() and (folder / "curves.png").is_file()
    before = {p: p.stat().st_mtime_ns for p in folder.glob("studies/*/*/metrics.jsonl")}
    assert len(before) == 4
    again = duelist(*words, "--json")
    assert json.loads(again.out) == found
    assert before == {p: p.stat().st_mtime_ns for p in folder.glob("studies/*/*/metrics.jsonl")}
    assert "begun with others" in duelist(*words[:-4], "--labels", "24").error


def test_what_a_rehearsal_refuses(duelist: Command, tmp_path: Path) -> None:
    file = written(tmp_path / "mine.jsonl")
    assert "one source" in duelist("rehearse", file, "--model", "m", "--embeddings", "e.npz").error
    assert "two seeds or more and a rule" in duelist("rehearse", file, "--seeds", "0").error
    # Mistakes in rules are found before anything is read.
    assert "v_opt" in duelist("rehearse", tmp_path / "none.jsonl", "--rules", "v_opd").error
    other = duelist(
        "rehearse", file, "-o", tmp_path / "out", "--arm", "random:acquisition=v_opt", "--arm", "b:acquisition=bald"
    )
    assert "`random` of a rehearsal is random selection, but got one with acquisition=v_opt" in other.error
    twice = duelist("rehearse", tmp_path / "none.jsonl", "--rules", "v_opt", "--arm", "v_opt:acquisition=bald")
    assert "'v_opt' occurs 2 times" in twice.error
    assert "a rule beside random, but got 8 and 0" in duelist("rehearse", file, "--arm", "random").error
    assert not (tmp_path / "out").exists()
    few = written(tmp_path / "few.jsonl", 2, 3)
    assert "60 decided pairs" in duelist("rehearse", few).error


def test_an_audit_on_the_terminal(duelist: Command, tmp_path: Path) -> None:
    audit_world.make(tmp_path / "study")
    done = duelist("audit", tmp_path / "study", "--lengths", "--repeats", "2")
    assert done.code == 0, done.err
    words = " ".join(done.out.split())
    assert words.startswith("With 16 control labels the 95 % interval will be about ±46 points")
    assert "no estimate of a smaller active study" in words and "accuracy" in words
    told = duelist("audit", tmp_path / "study", "--lengths", "--repeats", "2", "--json")
    assert json.loads(told.out)["control"] == 16
    assert duelist("audit", tmp_path / "study", "--lengths", "-q").out == ""
    assert "one source" in duelist("audit", tmp_path / "study", "--lengths", "--embeddings", "e.npz").error
    assert "--repeats" in duelist("audit", tmp_path / "study", "--lengths", "--repeats", "0").err
    audit_world.make(tmp_path / "none", control=False, inclusion=1.0)
    assert "control_fraction: 0.1" in duelist("audit", tmp_path / "none").error


@pytest.mark.full
def test_the_default_rules_run(duelist: Command, tmp_path: Path) -> None:
    """Those that the command names by itself, in processes of its own."""
    file, folder = written(tmp_path / "mine.jsonl"), tmp_path / "out"
    assert duelist("rehearse", file, "-o", folder, "--seeds", "0:2").code == 0
    found = json.loads((folder / "rehearsal.json").read_text())
    assert {s["rule"] for s in found["metrics"][0]["savings"]} == {
        "policy_gap",
        "entropy",
        "pa_d_opt",
        "v_opt",
        "v_opt_lure",
    }
