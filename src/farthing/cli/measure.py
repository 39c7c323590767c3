"""`farthing measure`: a thousand inferences, their time, money and joules."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farthing.cli._app import app, err, out, print_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from farthing.bench.measuring import Called

    Ask = Callable[[str], Awaitable[Called]]


@app.command("measure")
def measure(
    model: Annotated[
        str, typer.Argument(help="A name of the configuration, or tiny-small, -mid, -large.")
    ],
    requests: Annotated[int, typer.Option("--requests", "-n", help="How many.", min=1)] = 1000,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A configuration; calls are booked.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help='One a line: text, or JSON objects with "prompt". Tiny models need none.'
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Requests at a time.", min=1)] = 1,
    watts: Annotated[
        float | None,
        typer.Option(help="Without a meter: model joules by this power.", min=0.001),
    ] = None,
    grams_per_kwh: Annotated[
        float | None, typer.Option(help="Of CO2, of the electricity used.", min=0)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the tiny models' prompts.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask a model many times under this machine's power meter.

    Joules are those of this machine: they mean something for models that run on it. Without a
    meter they are unknown, or with --watts modelled. Exit status 1 if every request fails.
    """
    from rich.progress import Progress

    from farthing.bench import measuring
    from farthing.core.errors import DataError
    from farthing.cost.energy import find_meter

    texts = _texts(prompts, model, requests, seed)
    meter = find_meter()

    async def run(tick: Callable[[], object]) -> measuring.Measured:
        async with _asking(model, config) as ask:
            return await measuring.measure(
                ask,
                texts,
                requests,
                concurrency=concurrency,
                meter=meter,
                watts=watts,
                progress=tick,
            )

    with Progress(console=err, transient=True) as bar:
        task = bar.add_task(model, total=requests)
        found = asyncio.run(run(lambda: bar.advance(task)))
    told = {"model": model, **measuring.as_json(found, grams_per_kwh)}
    if not found.calls:
        raise DataError(f"all {requests} requests failed; the first: {found.errors[0]}")
    if as_json:
        print_json(told)
    else:
        out.print(_words(told), soft_wrap=True)


def _texts(path: Path | None, model: str, requests: int, seed: int) -> list[str]:
    from farthing.core.errors import DataError

    if path is None:
        if not model.startswith("tiny-"):
            raise typer.BadParameter(f"{model} needs some", param_hint="--prompts")
        import numpy as np

        from farthing.models import tiny

        rng = np.random.default_rng(seed)
        return [tiny.prompt(tiny.problem(rng, 1 + i % 6)) for i in range(min(requests, 1000))]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if line.startswith("{"):
            try:
                line = json.loads(line)["prompt"]
            except (ValueError, KeyError) as error:
                raise DataError(f'{path}:{number}: no JSON object with "prompt"') from error
            if not isinstance(line, str):
                raise DataError(f"{path}:{number}: prompt is no text")
        found.append(line)
    if not found:
        raise DataError(f"{path}: no prompts")
    return found


def _asking(model: str, config: Path | None) -> AbstractAsyncContextManager[Ask]:
    return _tiny(model) if config is None else _configured(model, config)


@asynccontextmanager
async def _tiny(model: str) -> AsyncIterator[Ask]:
    from farthing.bench.measuring import Called
    from farthing.core.request import Request
    from farthing.cost import PriceBook
    from farthing.models import tiny

    if model.removeprefix("tiny-") not in tiny.TINY_SIZES or not model.startswith("tiny-"):
        raise typer.BadParameter(f"{model} needs one", param_hint="--config")
    loaded, book = tiny.load(model.removeprefix("tiny-")), PriceBook()

    async def ask(prompt: str) -> Called:
        response = await loaded.complete(Request.ask(prompt))
        usage = response.usage
        cost, _ = book.cost(loaded.card, usage)
        if usage is None:
            return Called(None, None, cost)
        return Called(usage.input_tokens, usage.output_tokens, cost)

    yield ask


@asynccontextmanager
async def _configured(model: str, config: Path) -> AsyncIterator[Ask]:
    from farthing.bench.measuring import Called
    from farthing.client.asynchronous import AsyncClient

    async with AsyncClient(config, tags={"command": "measure"}) as client:

        async def ask(prompt: str) -> Called:
            messages = [{"role": "user", "content": prompt}]
            answer = await client.chat.completions.create(model=model, messages=messages)
            usage: Any = getattr(answer, "usage", None)
            return Called(
                getattr(usage, "prompt_tokens", None),
                getattr(usage, "completion_tokens", None),
                answer.farthing.cost,
            )

        yield ask


def _words(told: dict[str, Any]) -> str:
    energy, latency = told["energy"], told["latency_s"]
    cost = "unknown" if told["cost_usd"] is None else f"{told['cost_usd']} USD"
    tokens = [
        "unknown" if told[key] is None else f"{told[key]:,}"
        for key in ("input_tokens", "output_tokens")
    ]
    failed = f", {told['failed']} failed: {told['first_error']}" if told["failed"] else ""
    lines = [
        f"{told['model']}: {told['requests']} requests in {told['wall_s']:.3g} s{failed}",
        f"Latency {latency['mean'] * 1e3:.3g} ms, median {latency['p50'] * 1e3:.3g} ms, "
        f"95 % within {latency['p95'] * 1e3:.3g} ms (measured)",
        f"Tokens {tokens[0]} in, {tokens[1]} out (counted); cost {cost}",
    ]
    if energy["joules"] is None:
        lines.append("Energy unknown: no meter (NVML or RAPL) can be read here")
        return "\n".join(lines)
    each = energy["joules_per_output_token"]
    lines.append(
        f"Energy {energy['joules_per_1000_requests']:.4g} J for 1,000 requests, "
        f"{'unknown' if each is None else f'{each:.3g} J'} an output token ({energy['basis']})"
    )
    if energy["grams_co2_per_1000_requests"] is not None:
        lines.append(f"CO2 {energy['grams_co2_per_1000_requests']:.3g} g for 1,000 requests")
    return "\n".join(lines)
