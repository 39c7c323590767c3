"""Taking a task apart into simpler ones."""

from __future__ import annotations

from farthing.models import tiny

ASKED = """\
{task}

Do not answer this. Write two to four simpler questions whose answers lead to it, one a line. \
Where a question needs the answer of an earlier one, write {{1}} for that of the first line, {{2}} \
for that of the second. The answer of the last line is the answer of the whole. If it is simple \
already, write nothing but SIMPLE."""


def halves(task: str) -> list[str]:
    """A chain of arithmetic as two shorter ones; nothing for a chain of a single step.

    RequestError if there is no chain that the tiny models read.
    """
    chain = tiny.parse(task)
    cut = 1 + 2 * (len(chain[1:]) // 4)
    if cut == 1:
        return []
    rest = " ".join(chain[cut:])
    return [tiny.prompt(chain[:cut]), tiny.prompt("").removesuffix(" =") + f"{{1}} {rest} ="]


def lines(text: str) -> list[str]:
    """The questions that a model wrote in answer to `ASKED`; nothing if there are not two."""
    written = [line.strip(" -*\t") for line in text.splitlines()]
    asked = [line for line in written if line]
    return asked if len(asked) > 1 else []


def filled(question: str, answers: list[str | None]) -> str | None:
    """The question with the answers of earlier ones put in; None if one is wanted and unknown."""
    for number, answer in enumerate(answers, 1):
        place = f"{{{number}}}"
        if place in question:
            if answer is None:
                return None
            question = question.replace(place, answer)
    return question
