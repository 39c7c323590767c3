"""What models cost for what they get right: price reversal and cost-of-pass on public numbers.

`python benchmarks/economics.py DIR` brings aider's polyglot board (DIR/aider-leaderboard.parquet)
into the form of `farthing economics`, writes it to DIR2/aider.csv if `--out DIR2` is given, and
prints its table; with `--only NAMES` it judges recordings in DIR instead.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from _common import environment, markdown, recordings
from rich.console import Console

from farthing.bench.economics.plot import plot
from farthing.bench.economics.report import economics
from farthing.bench.economics.show import table
from farthing.bench.economics.source import open_study
from farthing.risk.ranks import agreement

COLUMNS = (
    "model", "cases", "pass_rate", "first_pass_rate", "total_cost", "input_tokens",
    "output_tokens", "upstream", "date", "class", "family",
)  # fmt: skip
REASONS = re.compile(
    r"(?<!no )think|\((high|medium|low)\)|^o[134]\b|^o[134]-|R1|Reasoner|^gpt-5|2\.5.pro|2\.5 Pro"
    r"|04-17"
)
FLASH = "gemini-2.5-flash"
ALIASES = {"sonnet": "claude-3-7-sonnet-20250219"}
CLASSES = {
    "claude": "Anthropic", "sonnet": "Anthropic", "gemini": "Google", "gpt": "OpenAI",
    "o1": "OpenAI", "o3": "OpenAI", "o4": "OpenAI", "chatgpt": "OpenAI",
    "deepseek": "DeepSeek", "grok": "xAI",
}  # fmt: skip
WIDTH = 130


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", help="names of recordings, by commas")
    parser.add_argument("--effort", help="column that orders the variants of a model")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    print(environment(), end="\n\n")
    console = Console(width=WIDTH)
    if options.only:
        for name in options.only.split(","):
            path = recordings(options.dir, f"{name}.parquet")[0]
            begun = time.perf_counter()
            found = economics(open_study(str(path), effort=options.effort))
            console.print(table(found))
            print(f"\n{time.perf_counter() - begun:.1f} s\n")
        return
    rows = aider(recordings(options.dir, "aider-leaderboard.parquet")[0])
    with tempfile.TemporaryDirectory() as folder:
        path = (options.out or Path(folder)) / "aider.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        found = economics(open_study(str(path)))
    console.print(table(found))
    print()
    print(_groups(found))
    if options.plot is not None:
        plot(found, options.plot)
        print(f"Plotted to {options.plot}", file=sys.stderr)


def aider(path: Path) -> list[dict[str, Any]]:
    """The polyglot board's runs of a single model whose cost is known."""
    made = []
    for row in pq.read_table(path).to_pylist():
        single = "architect" not in (row["command"] or "") and " + " not in row["model"]
        if row["board"] != "polyglot_leaderboard" or row["total_cost"] is None or not single:
            continue
        upstream = re.search(r"--model\s+(\S+)", row["command"])
        name = upstream[1] if upstream else row["model"]
        name = ALIASES.get(name, name)
        parts = name.removeprefix("openrouter/").split("/")
        short = parts[-1]
        family = re.sub(r"\s*\(.*\)", "", row["model"])
        made.append(
            {
                "model": row["model"],
                "cases": row["cases"],
                "pass_rate": round(row["pass_rate_2"], 4),
                "first_pass_rate": round(row["pass_rate_1"], 4),
                "total_cost": row["total_cost"],
                "input_tokens": row["prompt_tokens"],
                "output_tokens": row["completion_tokens"],
                "upstream": _upstream(name),
                "date": row["date"],
                "class": next((c for k, c in CLASSES.items() if short.startswith(k)), ""),
                "family": "" if short == "deepseek-reasoner" else family,
            }
        )
    return made


def _upstream(name: str) -> str:
    """The provider's name of the model, as the price book knows it."""
    provider, _, rest = name.removeprefix("openrouter/").rpartition("/")
    known = {"gemini": "google", "xai": "x-ai", "": ""}
    provider = known.get(provider, provider)
    return f"{provider}/{rest}" if provider else rest


def _groups(found: Any) -> str:
    """Reversals among some of the models."""
    prices = dict(zip((s.entry.model for s in found.standings), found.prices, strict=True))
    turned = found.reversal
    spend = dict(zip(turned.models, turned.spend, strict=True))
    reasons = [model for model in turned.models if REASONS.search(model)]
    groups = {
        "all": turned.models,
        "that reason": reasons,
        "that do not": [model for model in turned.models if model not in reasons],
        "that reason, without Gemini 2.5 Flash": [m for m in reasons if FLASH not in m],
        "all, without Gemini 2.5 Flash": [m for m in turned.models if FLASH not in m],
    }
    rows, counts = [], {}
    for name, models in groups.items():
        lists, spent = [prices[m].mixed for m in models], [spend[m] for m in models]
        both = agreement(lists, spent)
        counts[name] = np.array([both.pairs, both.reversed])
        most = max(
            (spent[i] / spent[j] for i in range(len(models)) for j in range(len(models))
             if lists[i] < lists[j] and spent[i] > spent[j]),
            default=1.0,
        )  # fmt: skip
        rows.append(
            [name, str(len(models)), str(both.pairs), f"{100 * both.rate:.1f}", f"{both.tau:.3f}",
             f"{most:.1f}"]
        )  # fmt: skip
    pairs, crossed = counts["all"] - counts["that reason"] - counts["that do not"]
    rows.append(["one that reasons, one that does not", "", str(pairs),
                 f"{100 * crossed / pairs:.1f}", "", ""])  # fmt: skip
    return markdown(["models", "number", "pairs", "reversed, %", "tau", "most, times"], rows)


if __name__ == "__main__":
    main()
