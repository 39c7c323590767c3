"""`farthing init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farthing.cli._app import app, out

TEMPLATE = """\
# Configuration of the Farthing gateway; start it with `farthing serve`.
# What is commented out shows the default, or an example.

[gateway]
host = "127.0.0.1"            # other addresses need token_env, or allow_open = true
port = 8080                   # 0 takes any free port
# token_env = "FARTHING_TOKEN"  # environment variable with the token that clients must send
# allow_open = false          # let other machines in without a token
# answer = "text"             # how final answers are read from texts for the ledger:
                              # text, last-line, last-number, choice or regex:PATTERN
# max_body_mb = 20            # largest request
# request_timeout_s = 600     # seconds for a request in all
# keepalive_s = 3             # seconds between comments in a stream while a plan decides
# shutdown_s = 30             # seconds that requests in flight are given on shutdown
# store_prompts = true        # prompts and answers in the ledger: needed to plan on your traffic

[ledger]
path = "farthing.db"          # relative to this file
# url_env = "FARTHING_LEDGER_URL"  # in place of path: a PostgreSQL database that gateways share

# Three small models that come with Farthing. They solve chains of arithmetic such as
# `3 + 4 * 2 - 5`, and cost nothing but a little of this machine's time.

[models.small]
kind = "tiny"
size = "small"

[models.mid]
kind = "tiny"
size = "mid"

[models.large]
kind = "tiny"
size = "large"

# Any upstream that speaks OpenAI's chat format.

# [models.gpt]
# kind = "http"
# base_url = "https://api.openai.com/v1"
# model = "gpt-4o-mini"         # the upstream's name for it
# key_env = "OPENAI_API_KEY"    # environment variable with the key
# headers = { }                 # sent with every call
# timeout_s = 120               # seconds for an answer; in a stream, between two pieces of it
# connect_timeout_s = 10
# n = true                      # one call can return several answers
# stream_usage = true           # streams are asked for usage (stream_options)
# env_proxy = false             # obey HTTP_PROXY, HTTPS_PROXY and NO_PROXY
# price = { input = "0.15", output = "0.60", cache_read = "0.075" }  # USD per million tokens

# Recorded answers of a model; the question is found by the header x-farthing-question, else by
# the prompt.

# [models.old]
# kind = "recorded"
# path = "recording.parquet"    # relative to this file
# model = "gpt-4"               # the recording's name for it

# [plans]
# files = ["plan.toml"]         # relative to this file; a plan is called by its name as the model
"""


@app.command("init")
def init(
    path: Annotated[Path, typer.Option(help="Where to write it.")] = Path("farthing.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file.")] = False,
) -> None:
    """Write a commented configuration to start from."""
    from farthing.core.errors import ConfigError

    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError as error:
        raise ConfigError(
            "the file exists; --force overwrites it, --path names another", path=str(path)
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", path=str(path)) from error
    out.print(
        f"wrote {path}; start the gateway with: farthing serve --config {path}", soft_wrap=True
    )
