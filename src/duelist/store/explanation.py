"""What each file of a study's folder is: the text of its README.md."""

from __future__ import annotations

EXPLANATION = """# A Duelist study

| file | what it is |
|---|---|
| `report.html` | the result as a page: what was asked, what came of it, learning curves |
| `adapter/` | the trained LoRA adapter, for `PeftModel.from_pretrained(base, "adapter")` |
| `model/`, `reward_model/` | in its place: a model of which all parameters were trained, or a reward model |
| `preferences.jsonl` | every label so far as a preference in TRL's format, to train any other model on |
| `metrics.jsonl` | one line per round: labels and metrics on held-out prompts; round 0 is the initial model |
| `recipe.yaml` | every setting of the study, for reading; change none: a study keeps its recipe |
| `study.db` | the record (SQLite): questions asked, every label, finished stages. **Keep this file** |
| `rounds/NNN/` | per round: the responses drawn, the pairs, what was selected and why, the weights, the evaluation |
| `rounds/000/sft/` | the base model after supervised fine-tuning before round 1: what `adapter/` belongs to |
| `compare/NAME/` | the same study with another rule, complete |
| `compare/curves.png`, `table.md` | the studies side by side |
| `seeds/seed-NNN/` | the same studies on further seeds, complete |
| `judge/`, `embeddings/` | answers of a judge and vectors of an embedding model, kept because they are expensive |

Not every study has all of them. The folder is readable by its owner alone, because it contains people's words.

- Run the command that made it again to resume it; `duelist status .` tells how far it is.
- `duelist verify .` checks it, `duelist export . --format csv -o labels.csv` exports every label.
"""
