"""How often the passages that are kept hold the answer, and what they save, by document length.

Made-up retrieval: documents of words drawn by Zipf's law, in which one sentence of eight rare words
is hidden; the question has some of them, and others that the document does not use. Real questions
paraphrase more, and real documents repeat themselves: this shows how recall and cost go with
length, not how good the scorer is on real text.

    python benchmarks/passages.py
"""

from __future__ import annotations

import argparse

import numpy as np
from _common import environment, markdown

from farthing.core.request import Request
from farthing.policies.passages import Passages

VOCABULARY = 5000


def made_up(words: int, shared: int, rng: np.random.Generator) -> tuple[str, str, str]:
    """A document, a question, and the answer, which is a word of the document."""
    weights = 1 / np.arange(1, VOCABULARY + 1)
    text = [f"w{word}" for word in rng.choice(VOCABULARY, words, p=weights / weights.sum())]
    fact = [f"w{word}" for word in rng.choice(np.arange(300, VOCABULARY), 8, replace=False)]
    answer = f"answer{rng.integers(10**9)}"
    place = int(rng.integers(0, words))
    text[place:place] = [*fact, answer]
    other = [f"other{word}" for word in rng.integers(0, VOCABULARY, 8 - shared)]
    common = [f"w{word}" for word in rng.integers(0, 30, 4)]
    return " ".join(text), " ".join([*fact[:shared], *other, *common]), answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--lengths", default="1000,4000,16000")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(environment())
    rows = []
    for length in map(int, arguments.lengths.split(",")):
        for shared in (1, 2, 4):
            rng = np.random.default_rng(arguments.seed)
            asked = [made_up(length, shared, rng) for _ in range(arguments.documents)]
            for keep in (1, 2, 4, 8):
                policy = Passages("m", keep=keep)
                found, sent = 0, []
                for document, question, answer in asked:
                    request = Request.ask(f"<document>{document}</document>\n{question}")
                    told = policy.shorten(request).prompt
                    found += answer in told
                    sent.append(len(told.split()))
                rows.append(
                    [
                        f"{length}",
                        f"{shared} of 8",
                        f"{keep}",
                        f"{found / len(asked):.2f}",
                        f"{np.mean(sent):.0f}",
                        f"{1 - np.mean(sent) / length:.0%}",
                    ]
                )
    columns = ["words", "shared with the question", "kept", "recall", "words sent", "saved"]
    print()
    print(markdown(columns, rows))


if __name__ == "__main__":
    main()
