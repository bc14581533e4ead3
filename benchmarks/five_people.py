"""A study labelled by five simulated people over HTTP, from invitation to trained adapter. Nobody real took part.

    python benchmarks/five_people.py [-o docs/annotate] [--screenshots]

The environment is the quickstart's, smaller; the reward is known. The study is served as `duelist annotate` serves it.
Each person opens a personal link, and answers what the page's API gives until the study is finished:

    ann, bob, cat, dan    prefer the response with the greater reward with probability 0.95, 0.9, 0.8 and 0.65
    eve                   takes the left response, whatever it says

Half of the questions are answered by three people, 15 % of the tasks are gold questions with known answers, and
training uses the votes by the people's estimated reliability (`trainer.votes: reliability`). Prints the reward before
and after, and the report of `duelist annotators report`; with `-o`, writes it to five_people.txt there.
`--screenshots` also photographs the owner's dashboard, with Playwright and Chromium.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from duelist import Study, load_recipe
from duelist.annotators.people import People
from duelist.progress import Silent, quiet_libraries
from duelist.study.components import prepared
from duelist.web.people_report import rows_of
from duelist.web.served_study import ServedStudy, ledger_url
from duelist.web.serving import Served, ServerSettings, serving
from duelist.web.sql_ledger import SqlLedger
from duelist.web.study_page import page_settings, statistics_of
from duelist.web.tokens import Secret
from duelist.web.verify import verify
from duelist.world import reward

SKILLS = {"ann": 0.95, "bob": 0.9, "cat": 0.8, "dan": 0.65, "eve": None}
GOLD = 40
SETTINGS = ("rounds=4", "budget=24", "initial_random=24", "compare={}", "trainer.votes=reliability",
            "prepare.settings.prompts=80", "evaluation.responses_per_prompt=4",
            "reward={name: function, function: 'duelist.world:reward', arguments: {world: '{prepared}'}}")  # fmt: skip


def main() -> None:
    """Run the study, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--screenshots", action="store_true")
    arguments = parser.parse_args()
    quiet_libraries()
    with tempfile.TemporaryDirectory(prefix="duelist-five-people-") as scratch:
        folder, gold = Path(scratch) / "study", Path(scratch) / "gold.jsonl"
        recipe = prepared(load_recipe("quickstart", [*SETTINGS, "annotator=null"]), Silent())
        world = Path(recipe.prompts.held_out_path or "").parent
        write_gold(gold, world)
        people = {"name": "people", "overlap_labels": 3, "overlap_fraction": 0.5, "gold": str(gold), "gold_rate": 0.15}
        served_with = load_recipe("quickstart", [*SETTINGS, f"annotator={json.dumps(people)}"])
        with Study.create(folder, served_with) as study, closing(SqlLedger(ledger_url(folder))) as ledger:
            assert study.recipe.annotator is not None
            annotator = study.recipe.annotator.build()
            assert isinstance(annotator, People)
            served = ServedStudy(study, ledger, annotator.config, print)
            page = page_settings(annotator.config)
            secret = Secret.fresh()
            settings = ServerSettings(port=0)
            with serving(served.desk, secret, settings, page, statistics_of(served)) as server:
                with ThreadPoolExecutor(len(SKILLS)) as pool:
                    working = [pool.submit(work, name, server, world) for name in SKILLS]
                    served.run()
                    for one in working:
                        one.result()
                if arguments.screenshots and arguments.output:
                    photograph(server, arguments.output)
            metrics = study.store.metrics()
        report = "\n".join(lines(metrics, rows_of(folder, ledger_url(folder)), verify(folder, ledger_url(folder))))
    print(report)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "five_people.txt").write_text(report + "\n", encoding="utf-8")


def write_gold(path: Path, world: Path) -> None:
    """Write questions whose answer is clear: of many made-up responses, one of high and one of low reward."""
    rng = random.Random(0)
    words = sorted(json.loads((world / "world.json").read_text(encoding="utf-8"))["words"])
    prompts = [json.loads(line)["prompt"] for line in (world / "held_out.jsonl").read_text("utf-8").splitlines()]
    rows = []
    for prompt in rng.sample(prompts, GOLD):
        texts = [" ".join(rng.choices(words, k=4)) for _ in range(100)]
        ranked = sorted(texts, key=lambda text: reward([prompt], [text], world=world)[0])
        a, b = (ranked[-1], ranked[0]) if rng.random() < 0.5 else (ranked[0], ranked[-1])
        label = "a" if a == ranked[-1] else "b"
        rows.append({"prompt": prompt, "response_a": a, "response_b": b, "label": label})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def work(name: str, server: Served, world: Path) -> None:
    """Open the personal link, and answer until the study is finished."""
    rng = random.Random(name)
    with httpx2.Client(base_url=server.address, timeout=60) as client:
        page = client.get(server.link(name, "annotator"), follow_redirects=True).text
        bootstrap = re.search(r'id="bootstrap"[^>]*>(.*?)</script', page, re.S)
        assert bootstrap is not None
        client.headers["X-CSRF-Token"] = json.loads(bootstrap[1])["csrf"]
        while True:
            found = client.post("/api/next", json={"hold": []}).json()
            if found["task"] is not None:
                client.post("/api/acts", json=answer(found["task"], name, rng, world)).raise_for_status()
            elif found["wait"]["reason"] == "finished":
                return
            else:
                time.sleep(0.2)


def answer(task: dict[str, Any], name: str, rng: random.Random, world: Path) -> dict[str, Any]:
    """Return a person's answer to a question."""
    shown = [r["id"] for r in task["responses"]]
    prompt = [{"role": "user", "content": task["prompt"][-1]["text"]}]
    rewards = reward([prompt] * 2, [r["text"] for r in task["responses"]], world=world)
    better, skill = int(rewards[1] > rewards[0]), SKILLS[name]
    place = 0 if skill is None else better if rng.random() < skill else 1 - better
    return {
        "act_id": str(uuid4()),
        "task_id": task["task_id"],
        "question_id": task["question_id"],
        "shown": shown,
        "outcome": "prefer",
        "chosen": shown[place],
        "active_seconds": rng.lognormvariate(0.5 if skill is None else 3.0, 0.4),
    }


def lines(metrics: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], findings: Sequence[str]) -> list[str]:
    """Return the results as lines of text."""
    first, last = metrics[0], metrics[-1]
    found = [
        f"mean reward {first['mean_reward']:.3f} before, {last['mean_reward']:.3f} after {last['round']} rounds",
        f"findings of `duelist verify`: {len(findings)}",
        "",
        f"{'of':14} {'annotator':9} {'statistic':18} {'value':>7} {'95 % interval':>16} {'n':>4}  remark",
    ]
    for row in rows:
        bounds = [row["low"], row["high"]]
        interval = "" if None in bounds else f"{bounds[0]:.2f} to {bounds[1]:.2f}"
        value = "–" if row["value"] is None else f"{row['value']:.3g}"
        who = row["annotator"] or ""
        text = f"{row['of']:14} {who:9} {row['statistic']:18} {value:>7} {interval:>16} {row['n']:>4}  {row['remark']}"
        found.append(text.rstrip())
    return found


def photograph(server: Served, folder: Path) -> None:
    """Write a picture of the owner's dashboard."""
    from playwright.sync_api import sync_playwright

    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(server.link("owner", "owner"))
        page.goto(f"{server.address}/owner")
        page.wait_for_selector("text=Krippendorff")
        page.screenshot(path=folder / "dashboard.png")
        browser.close()


if __name__ == "__main__":
    main()
