"""A sample is what its pieces say together."""

from __future__ import annotations

from farthing.core.pieces import Pieces
from farthing.core.response import Chunk, Sample


def joined(*chunks: Chunk) -> Sample:
    pieces = Pieces()
    for chunk in chunks:
        pieces.add(chunk)
    return pieces.sample()


def test_texts_tokens_and_the_end() -> None:
    told = joined(
        Chunk("a", tokens=(("a", -0.5),)),
        Chunk("b", tokens=(("b", -1.5),)),
        Chunk(finish_reason="stop", mean_logprob=-1.0, min_logprob=-1.5, output_tokens=2),
        Chunk(),
    )
    assert told == Sample(
        "ab",
        finish_reason="stop",
        mean_logprob=-1.0,
        min_logprob=-1.5,
        output_tokens=2,
        tokens=(("a", -0.5), ("b", -1.5)),
    )


def test_what_is_cut_off_has_no_end() -> None:
    assert joined(Chunk("a")) == Sample("a")
    assert joined() == Sample("")


def test_calls_of_tools_are_joined_by_their_index() -> None:
    def piece(index: int, arguments: str, **more: object) -> dict[str, object]:
        return {"index": index, "function": {"arguments": arguments, **more}}

    told = joined(
        Chunk(tool_calls=[{**piece(0, "", name="f"), "id": "x"}, {**piece(1, "[]", name="g")}]),
        Chunk(tool_calls=[piece(0, '{"a":')]),
        Chunk(tool_calls=[piece(0, "1}"), {"index": 1}], finish_reason="tool_calls"),
    )
    assert told.fields["tool_calls"] == [
        {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": None, "type": "function", "function": {"name": "g", "arguments": "[]"}},
    ]
    assert told.finish_reason == "tool_calls"


def test_a_model_that_knows_the_whole_sample_says_so() -> None:
    whole = Sample("ab", answer="b", read=True)
    assert joined(Chunk("a"), Chunk("b", finish_reason="stop", sample=whole)) is whole
