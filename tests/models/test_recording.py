"""Recordings: what is read, what is drawn, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import recordings

from farthing.core.errors import DataError, RequestError
from farthing.core.money import Cost
from farthing.core.request import Request
from farthing.models.draw import draw
from farthing.models.recorded import RecordedModel
from farthing.models.recording import from_table, load_recording


def replaced(table: pa.Table, name: str, values: list) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values))


def test_parquet_and_json_lines_are_the_same_recording(tmp_path):
    table = recordings.table(6)
    pq.write_table(table, tmp_path / "r.parquet")
    lines = "\n".join(json.dumps(row) for row in table.to_pylist())
    (tmp_path / "r.jsonl").write_text(lines)
    one, two = load_recording(tmp_path / "r.parquet"), load_recording(tmp_path / "r.jsonl")
    assert one.digest == two.digest
    assert one.questions == two.questions
    assert one.models == ("m0", "m1", "m2")


def test_order_of_rows_does_not_matter_but_every_value_does():
    table = recordings.table(6)
    order = np.random.default_rng(0).permutation(table.num_rows)
    assert from_table(table.take(order)).digest == from_table(table).digest
    costs = table["cost_usd"].to_pylist()
    costs[7] += 1e-9
    assert from_table(replaced(table, "cost_usd", costs)).digest != from_table(table).digest


def test_metadata_is_kept(tmp_path):
    table = recordings.table(3).replace_schema_metadata({"farthing.answer": "last-number"})
    pq.write_table(table, tmp_path / "r.parquet")
    assert load_recording(tmp_path / "r.parquet").metadata["farthing.answer"] == "last-number"


def test_same_question_in_two_tasks_is_two_questions():
    table = recordings.table(3)
    tasks = [f"t{i % 2}" for i in range(table.num_rows)]
    assert len(from_table(replaced(table, "task", tasks)).questions) == 6


@pytest.mark.parametrize("kind", [pa.float64(), pa.null()])
def test_costs_can_be_told_of_models_that_have_none(kind):
    table = replaced(recordings.table(6), "cost_usd", pa.array([None] * 90, kind))
    told = from_table(table).priced({"m0": 0.5, "m2": 2.0})
    assert draw(told, ["m0", "m2"], 1).cost[1][0, 0] == 2_000_000_000_000
    with pytest.raises(DataError, match="cost_usd of model 'm1' is unknown"):
        draw(told, ["m0", "m1"], 1)
    with pytest.raises(DataError, match="no rows of model 'x'"):
        told.priced({"x": 1.0})


def test_selection_keeps_the_rows_of_its_questions():
    recording = recordings.recording(10)
    part = recording.select([7, 2])
    assert part.questions == ("q0002", "q0007")
    rows = part.table.to_pylist()
    whole = [r for r in recording.table.to_pylist() if r["question"] in part.questions]
    assert rows == whole
    assert (part.counts("m1") == 5).all()


@pytest.mark.parametrize("missing", ["question", "model", "answer", "cost_usd"])
def test_missing_column_is_named(tmp_path, missing):
    pq.write_table(recordings.table(3).drop_columns([missing]), tmp_path / "r.parquet")
    with pytest.raises(DataError, match=f"r.parquet: column {missing} missing"):
        load_recording(tmp_path / "r.parquet")


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load_recording(tmp_path / "none.parquet")
    for name in ("bad.parquet", "bad.jsonl"):
        (tmp_path / name).write_text("not this {")
        with pytest.raises(DataError, match=f"{name}: not a readable"):
            load_recording(tmp_path / name)


def test_empty_null_and_repeated_rows_are_refused():
    table = recordings.table(3)
    with pytest.raises(DataError, match="no rows"):
        from_table(table.slice(0, 0))
    with pytest.raises(DataError, match="row 3: column 'model' is null"):
        from_table(replaced(table, "model", ["m0", "m0", None, *["m1"] * (table.num_rows - 3)]))
    with pytest.raises(DataError, match="more than once"):
        from_table(pa.concat_tables([table, table.slice(4, 1)]))
    with pytest.raises(DataError, match="whole numbers"):
        from_table(replaced(table, "sample", [0.5] * table.num_rows))


@pytest.mark.parametrize("bad", [float("nan"), None, float("inf"), -1.0])
def test_bad_cost_is_refused_with_its_question(bad):
    table = recordings.table(3)
    costs = table["cost_usd"].to_pylist()
    costs[2] = bad
    recording = from_table(replaced(table, "cost_usd", costs), "r.parquet")
    with pytest.raises(DataError, match=r"cost_usd of model 'm0' .* 'q0000'"):
        draw(recording, ["m0", "m1"], 5)
    draw(recording, ["m1", "m2"], 5)


def test_null_answers_everywhere_are_refused():
    table = recordings.table(3)
    models = table["model"].to_pylist()
    answers = [None if m == "m1" else "x" for m in models]
    with pytest.raises(DataError, match="'m1' has no readable answer"):
        draw(from_table(replaced(table, "answer", answers)), ["m0", "m1"], 5)


def test_unknown_and_repeated_models_are_refused():
    recording = recordings.recording(3)
    with pytest.raises(DataError, match="no rows of model 'x'; it has m0, m1, m2"):
        draw(recording, ["m0", "x"], 1)
    with pytest.raises(DataError, match="named twice"):
        draw(recording, ["m0", "m0"], 1)
    with pytest.raises(DataError, match="at least 1"):
        draw(recording, ["m0", "m1"], 0)
    with pytest.raises(DataError, match="2 numbers of samples for 3 models"):
        draw(recording, ["m0", "m1", "m2"], [1, 2])


def test_draw_is_without_replacement_and_a_function_of_the_seed():
    recording = recordings.recording(20)
    one, same, other = (draw(recording, ["m2", "m0"], 5, seed) for seed in (0, 0, 1))
    for rows in one.rows:
        assert all(len(set(row)) == 5 for row in rows)
    assert (one.rows[0] == same.rows[0]).all()
    assert (one.rows[0] != other.rows[0]).any()


def test_questions_that_lack_a_model_are_left_out():
    table = recordings.table(5)
    keep = [not (r["question"] == "q0001" and r["model"] == "m1") for r in table.to_pylist()]
    recording = from_table(table.filter(pa.array(keep)))
    drawn = draw(recording, ["m0", "m1"], 9)
    assert (drawn.questions, drawn.left_out, drawn.samples) == (4, 1, (5, 5))
    none = recording.table.filter(
        pa.array(
            [
                r["model"] != "m1" or (r["question"] == "q0002" and False)
                for r in recording.table.to_pylist()
            ]
        )
    )
    with pytest.raises(DataError, match="no rows of model 'm1'"):
        draw(from_table(none), ["m0", "m1"], 1)


def test_correctness_falls_back_on_the_reference():
    table = recordings.table(5)
    drawn, plain = (
        draw(from_table(t), ["m0", "m1"], 5) for t in (table, table.drop_columns(["correct"]))
    )
    assert (drawn.correct(0) == plain.correct(0)).all()
    bare = draw(from_table(table.drop_columns(["correct", "reference"])), ["m0", "m1"], 5)
    assert np.isnan(bare.correct(0)).all()


async def test_recorded_model_gives_its_samples_in_turn():
    drawn = draw(recordings.recording(4), ["m0", "m1"], 3, seed=2)
    model = RecordedModel(drawn, "m1")
    rows = drawn.recording.table.to_pylist()
    for place in (0, 1, 2, 0):
        response = await model.complete(Request.ask("What is 1?"))
        row = rows[drawn.rows[1][1, place]]
        assert response.samples[0].answer == row["answer"]
        assert response.cost == Cost.from_float(row["cost_usd"])
        assert response.latency_s == row["latency_s"]
        assert response.usage.input_tokens == row["input_tokens"]
        assert response.usage.output_tokens == row["output_tokens"]


async def test_unrecorded_question_is_the_clients_mistake():
    drawn = draw(recordings.recording(4), ["m0", "m1"], 3)
    with pytest.raises(RequestError, match="holds no question 'What is love"):
        await RecordedModel(drawn, "m0").complete(Request.ask("What is love?"))


async def test_recorded_model_streams():
    drawn = draw(recordings.recording(4, null=0), ["m0", "m1"], 3)
    chunks = [c async for c in RecordedModel(drawn, "m0").stream(Request.ask("What is 1?"))]
    assert [chunk.finish_reason for chunk in chunks] == [None, "stop", None]
    begun, end = chunks[0].usage, chunks[-1].usage
    assert begun is not None
    assert end is not None
    assert (begun.input, begun.output_tokens) == (end.input, 0)
    assert end.output_tokens > 0
