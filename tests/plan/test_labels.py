from __future__ import annotations

import pytest

from farthing.core.errors import DataError
from farthing.plan.labels import Label, load_labels


def written(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_are_found_by_name(tmp_path):
    path = written(
        tmp_path,
        "\ufeffcorrect,who,question,model,sample\n1,ann,q1,small,0\n0.5,bob,q2,,\n",
    )
    assert load_labels(path) == [
        Label(2, "q1", 1.0, "small", 0),
        Label(3, "q2", 0.5, None, None),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("question,right\nq1,1\n", "labels.csv:1: column 'correct' missing"),
        ("", "labels.csv:1: column 'question' missing"),
        ("question,correct\n", "no labels"),
        ("question,correct\nq1,\n", "labels.csv:2: correct is '', want"),
        ("question,correct\nq1,1\nq2,1.5\n", "labels.csv:3: correct is '1.5', want"),
        ("question,correct\nq1,nan\n", "labels.csv:2: correct is 'nan', want"),
        ("question,correct\nq1\n", "labels.csv:2: correct is '', want"),
        ("question,correct\n,1\n", "labels.csv:2: no question"),
        ("question,correct\nq1,1\nq1,0\n", "labels.csv:3: question 'q1' is labelled a second"),
        ("question,correct,sample\nq1,1,x\n", "labels.csv:2: sample is 'x', want"),
    ],
)
def test_mistakes_are_told_with_file_and_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        load_labels(written(tmp_path, text))


def test_unreadable_files(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load_labels(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be read"):
        load_labels(tmp_path)
    binary = tmp_path / "b.csv"
    binary.write_bytes(b"\xff\xfe\x00question")
    with pytest.raises(DataError, match="not a CSV file"):
        load_labels(binary)
