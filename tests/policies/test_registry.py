"""Parameters that are wrong: what is said, and where."""

from __future__ import annotations

from typing import Any

import pytest

from farthing.core.errors import ParamError, PlanError
from farthing.policies import from_params

STAGES = [{"model": "a", "accept": "always"}]


@pytest.mark.parametrize(
    ("kind", "params", "message", "place"),
    [
        ("single", {"modle": "a"}, "unknown parameter 'modle'; did you mean 'model'?", ("modle",)),
        ("single", {}, "missing parameter 'model'", ()),
        ("cascade", {"stages": STAGES, "x": 1}, "unknown parameter 'x'; known: stages, ", ("x",)),
        ("cascade", {"stages": "a"}, "stages is a list of tables", ("stages",)),
        ("cascade", {"stages": ["a"]}, "want a table", ("stages", "[0]")),
        (
            "cascade",
            {"stages": [*STAGES, {"model": "b", "accpt": 1}]},
            "unknown parameter 'accpt'; did you mean 'accept'?",
            ("stages", "[1]", "accpt"),
        ),
        ("cascade", {"stages": [{"accept": 1}]}, "missing parameter 'model'", ("stages", "[0]")),
        ("cascade", {"stages": []}, "the last stage must accept always", ()),
        ("fallback", {"models": "a"}, "models is a list", ()),
        ("fallback", {"models": []}, "models must name at least one", ()),
        ("fallback", {"models": ["a", 1]}, "want a model's name, or a table", ("models", "[1]")),
        (
            "fallback",
            {"models": [{"kind": "sngle", "model": "a"}]},
            "no policy is called 'sngle'",
            ("models", "[0]", "kind"),
        ),
        (
            "fallback",
            {"models": [{"kind": "cascade", "stages": [{"model": "b", "x": 1}]}]},
            "unknown parameter 'x'",
            ("models", "[0]", "stages", "[0]", "x"),
        ),
    ],
)
def test_where_it_is_wrong(
    kind: str, params: dict[str, Any], message: str, place: tuple[str, ...]
) -> None:
    with pytest.raises(ParamError) as caught:
        from_params(kind, params)
    assert message in str(caught.value)
    assert caught.value.place == place


def test_a_kind_that_there_is_not() -> None:
    with pytest.raises(PlanError, match="no policy is called 'x'; known: single, cascade"):
        from_params("x", {})
