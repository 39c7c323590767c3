from __future__ import annotations

import pytest

from farthing.core.errors import ConfigError
from farthing.signals.answers import reader


@pytest.mark.parametrize(
    ("name", "text", "answer"),
    [
        ("text", "  The  Answer.\n", "the answer"),
        ("text", " \n", None),
        ("last-line", "So:\n\n  Paris. \n", "paris"),
        ("last-number", "3 + 4 = 7, and 7 * 2 = 14.", "14"),
        ("last-number", "about $1,200.50 in all", "1200.5"),
        ("last-number", "-0.0", "0"),
        ("last-number", "minus -007", "-7"),
        ("last-number", "none", None),
        ("choice", "The answer is (C).", "C"),
        ("choice", "B", "B"),
        ("choice", "A or B", None),
        ("choice", "It could be A, but the answer: b", "B"),
        (r"regex:#### (\S+)", "steps\n#### 12\n#### 13", "13"),
        (r"regex:\d+", "4 and 5", "5"),
        (r"regex:x(y)?", "x", None),
    ],
)
def test_readers(name, text, answer):
    assert reader(name)(text) == answer


@pytest.mark.parametrize("name", ["number", "regex:(", ""])
def test_unknown_reader_says_what_is_known(name):
    with pytest.raises(ConfigError, match=r"known|wrong"):
        reader(name)
