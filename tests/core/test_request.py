from __future__ import annotations

from farthing.core.errors import ConfigError
from farthing.core.request import Message, Request


def test_equal_questions_have_equal_identifiers():
    one = Request.ask("What?", temperature=0.1)
    two = Request.ask("What?", temperature=0.9, seed=3)
    other = Request.ask("What!")
    assert one.question_id() == two.question_id() != other.question_id()
    assert Request.ask("What?", question="q1").question_id() == "q1"


def test_prompt_is_the_last_user_message():
    request = Request(
        (
            Message("system", "Be brief."),
            Message("user", [{"type": "text", "text": "a"}, {"type": "image_url"}]),
            Message("assistant", None),
        )
    )
    assert request.prompt == "a"
    assert Request(()).prompt == ""


def test_config_error_names_file_line_and_key():
    error = ConfigError("too small", path="farthing.toml", key="gateway.port", line=3)
    assert str(error) == "farthing.toml:3: gateway.port: too small"
