"""A served plan whose certificate stops to hold: alarm, widening, restart, a new plan."""

import asyncio
import json
import logging
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import commands
import numpy as np
import pytest
from aiohttp import web

from farthing import AsyncClient
from farthing.core.errors import ConfigError
from farthing.core.money import Cost
from farthing.gateway import budgeting, certificates
from farthing.gateway.certificates import Certificates
from farthing.gateway.checking import check
from farthing.gateway.config import load
from farthing.gateway.server import serve
from farthing.ledger import watches
from farthing.ledger.export import export
from farthing.ledger.watches import Watched
from farthing.models.recording import load_recording
from farthing.models.tiny import problem, prompt
from farthing.plan.calibrate import Promise
from farthing.plan.file import load_plan, save_plan
from farthing.plan.make import make_plan

CONFIG = """\
[gateway]
port = 0
answer = "last-number"
budget_webhook_env = "HOOK"
[plans]
files = ["plan.toml"]
{plans}
[models.small]
kind = "tiny"
size = "small"
[models.large]
kind = "tiny"
size = "large"
"""
BUDGET, ALPHA = "0.0000025", 0.2


def questions(rng, count, steps):
    return [prompt(problem(rng, int(rng.integers(*steps)))) for _ in range(count)]


def farthing(*arguments):
    """What a command prints."""
    done = commands.farthing(Path.cwd(), *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def ask(url, asked, **headers):
    """The headers of the answers of the plan."""
    async with aiohttp.ClientSession() as http:
        found = []
        for question in asked:
            body = {
                "model": "thrifty",
                "messages": [{"role": "user", "content": question}],
                "temperature": 0,
            }
            async with http.post(f"{url}/chat/completions", json=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
                found.append(answer.headers.copy())
        return found


async def numbers(url):
    async with aiohttp.ClientSession() as http, http.get(f"{url[:-3]}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if "#" not in line
    }


@pytest.fixture
async def place(tmp_path, monkeypatch):
    """A folder with a configuration and a plan made of easy questions, and what a webhook got."""
    monkeypatch.setattr(watches, "GRACE", watches.timedelta(seconds=0.2))
    monkeypatch.setattr(certificates, "FRESH_S", 0.1)
    posts = []

    async def posted(request):
        posts.append(await request.json())
        return web.Response()

    hook = web.Application()
    hook.router.add_post("/hook", posted)
    runner = web.AppRunner(hook, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{runner.addresses[0][1]}/hook")
    path = tmp_path / "farthing.toml"
    path.write_text(CONFIG.format(plans="").replace('files = ["plan.toml"]', ""))
    rng = np.random.default_rng(3)
    easy = questions(rng, 200, (1, 4))
    async with AsyncClient(path) as client:
        for question in dict.fromkeys(easy):
            for model in ("small", "large"):
                messages = [{"role": "user", "content": question}]
                await client.chat.completions.create(model=model, messages=messages, temperature=0)
    export(tmp_path / "farthing.db", tmp_path / "recording.parquet")
    write(tmp_path, seed=0)
    path.write_text(CONFIG.format(plans=""))
    yield SimpleNamespace(folder=tmp_path, config=path, posts=posts, rng=rng)
    await runner.cleanup()


def write(folder, seed):
    recording = load_recording(folder / "recording.parquet")
    promise = Promise(Cost.from_usd(BUDGET), ALPHA, "pac", 0.1)
    options = {"samples": 1, "signal": "min_logprob", "name": "thrifty", "seed": seed}
    save_plan(make_plan(recording, ["small", "large"], promise, **options), folder / "plan.toml")


@asynccontextmanager
async def serving(config):
    said: asyncio.Queue[str] = asyncio.Queue()
    task = asyncio.create_task(serve(load(config), said.put_nowait))
    try:
        async with asyncio.timeout(20):
            yield (await said.get()).split()[2].removesuffix(";")
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(20):
            await task


async def taken_in(place, count):
    """Wait until so many requests are taken in of the newest plan file."""
    async with asyncio.timeout(20):
        while (await asyncio.to_thread(newest, place)).operations < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)  # for the gateway to look


def newest(place):
    return watches.read_watches(place.folder / "farthing.db")[-1]


async def reloaded(caplog):
    caplog.clear()
    os.kill(os.getpid(), signal.SIGHUP)
    async with asyncio.timeout(10):
        while "reloaded" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def alarmed(url, rng, most=400):
    """Ask hard questions until the gateway says that there is an alarm; how many it took."""
    for count in range(0, most, 10):
        for headers in await ask(url, questions(rng, 10, (6, 7))):
            if "x-farthing-alarm" in headers:
                return count, headers
        await asyncio.sleep(0.05)
    raise AssertionError("no alarm")


async def test_prompts_drift_the_plan_widens_and_stays_so_until_it_is_made_anew(place, caplog):
    caplog.set_level(logging.WARNING)
    async with serving(place.config) as url:
        easy = await ask(url, questions(place.rng, 100, (1, 4)))
        await taken_in(place, 100)
        assert not any("x-farthing-alarm" in headers for headers in easy)
        before = await numbers(url)
        assert before['farthing_certificate_alarm{monitor="rate",plan="thrifty"}'] == 0
        assert before['farthing_certificate_e_value{monitor="rate",plan="thrifty"}'] < 1
        count, headers = await alarmed(url, place.rng)
        assert count <= 200
        assert headers["x-farthing-alarm"] == "widened"
        assert headers["x-farthing-answered-by"] == "large"
        assert headers["x-farthing-attempts"] == "1"
        (bypassed,) = await ask(url, ["1+1="], **{"x-farthing-bypass": "1"})
        assert "x-farthing-alarm" not in bypassed
        after = await numbers(url)
        assert after['farthing_certificate_alarm{monitor="rate",plan="thrifty"}'] == 1
        assert after['farthing_certificate_e_value{monitor="rate",plan="thrifty"}'] > 1
    (event,) = [post for post in place.posts if post["event"] == "certificate_alarm"]
    assert (event["plan"], event["action"], event["budget_usd"]) == ("thrifty", "widened", BUDGET)
    assert event["violation_rate"] > ALPHA
    lines = [
        r.getMessage() for r in caplog.records if "its certificate does not hold" in r.msg % r.args
    ]
    assert len(lines) == 1
    assert "it is answered by large alone" in lines[0]
    assert "farthing plan RECORDING --models small,large --budget 0.0000025" in lines[0]

    db = place.folder / "farthing.db"
    told = json.loads(farthing("report", "--db", str(db), "--json"))
    (watch,) = told["watches"]
    assert watch["alarm_at"] == event["alarm_at"]
    assert watch["watched_rate"] == ALPHA < watch["violation_rate"]
    assert watch["peak"] >= watch["alarm_e_value"] == pytest.approx(100)
    text = farthing("report", "--db", str(db))
    assert f"ALARM since {watch['alarm_at']}: the certificate does not hold" in text
    findings = await asyncio.to_thread(check, place.config, offline=True)
    (warning,) = [
        f for f in findings if f.what == "certificate of thrifty" and "does not hold" in f.message
    ]
    assert warning.level == "warning"
    assert f"since {watch['alarm_at']}" in warning.message

    caplog.clear()
    async with serving(place.config) as url:  # a restart forgets nothing
        (headers,) = await ask(url, ["2+2="])
        assert headers["x-farthing-alarm"] == "widened"
        assert "its certificate does not hold" in caplog.text
        write(place.folder, seed=1)
        await reloaded(caplog)
        (headers,) = await ask(url, ["2+2="])
        assert "x-farthing-alarm" not in headers
        assert headers["x-farthing-plan"] == "thrifty"
        await taken_in(place, 1)
        assert (await numbers(url))[
            'farthing_certificate_alarm{monitor="rate",plan="thrifty"}'
        ] == 0
    watched = json.loads(farthing("report", "--db", str(db), "--json"))["watches"]
    assert [one["alarm_at"] is not None for one in watched] == [True, False]
    assert watched[1]["operations"] == 1
    assert len([post for post in place.posts if post["event"] == "certificate_alarm"]) == 1


async def test_a_plan_that_only_warns_goes_on_as_it_is(place, caplog):
    caplog.set_level(logging.WARNING)
    place.config.write_text(CONFIG.format(plans='on_alarm = "warn"\nalarm_level = 0.05'))
    async with serving(place.config) as url:
        _, headers = await alarmed(url, place.rng)
        assert headers["x-farthing-alarm"] == "warned"
        told = await ask(url, questions(place.rng, 30, (1, 2)))
        assert "small" in {headers["x-farthing-answered-by"] for headers in told}
        assert {headers["x-farthing-alarm"] for headers in told} == {"warned"}
        place.config.write_text(CONFIG.format(plans=""))
        await reloaded(caplog)
        (headers,) = await ask(url, ["1+1="])
        assert headers["x-farthing-alarm"] == "widened"
        assert headers["x-farthing-answered-by"] == "large"


async def test_a_client_in_its_own_process_watches_too(place):
    async with AsyncClient(place.config) as client:
        for question in questions(place.rng, 150, (6, 7)):
            messages = [{"role": "user", "content": question}]
            answer = await client.chat.completions.create(
                model="thrifty", messages=messages, temperature=0
            )
            if answer.farthing.alarm == "widened":
                return
            await asyncio.sleep(0.01)
    raise AssertionError("no alarm")


async def test_streams_say_it_and_budgets_reckon_with_the_strongest(gateway):
    watched = Watched("cheap", "d", ("parrot", "gpt"), Cost(1), 0.1, "pac", 10, 0.01)
    plan = gateway.service.plans["cheap"]
    gateway.service.plans["cheap"] = replace(plan, watched=watched)
    known = gateway.service.certificates = Certificates("nowhere.db")
    client = gateway.client()
    ask = {"model": "cheap", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    raw = await client.chat.completions.with_raw_response.create(**ask)
    assert "x-farthing-alarm" not in raw.headers
    [_ async for _ in raw.parse()]
    (outcome,) = gateway.ledger.outcomes
    assert (outcome.certificate, outcome.calls) == ("d", len(gateway.ledger.attempts))
    known.alarmed = frozenset({("cheap", "d")})
    raw = await client.chat.completions.with_raw_response.create(**ask)
    assert raw.headers["x-farthing-alarm"] == "widened"
    last = [chunk async for chunk in raw.parse()][-1]
    assert last.farthing["alarm"] == "widened"
    assert gateway.ledger.attempts[-1].node == "alarm"
    outcome = gateway.ledger.outcomes[-1]
    assert (outcome.certificate, outcome.budget, outcome.alpha) == (None, None, None)
    seen = gateway.service.with_alarms()
    assert budgeting._calls(seen, SimpleNamespace(model="cheap")) == ([("gpt", 1)], True)
    assert seen.skips("cheap")
    assert not seen.skips("lone")
    assert not gateway.service.skips("cheap")


async def test_while_the_ledger_is_away_what_was_known_is_believed(gateway, tmp_path, caplog):
    watched = Watched("cheap", "d", ("parrot", "gpt"), Cost(1), 0.1, "pac", 10, 0.01)
    plans = {"cheap": SimpleNamespace(watched=watched, on_alarm="widen", models=("parrot", "gpt"))}
    known = Certificates(tmp_path / "nowhere" / "l.db")
    known.alarmed = frozenset({("cheap", "d")})
    assert await known.read(plans) == []
    assert await known.read(plans) == []
    assert caplog.text.count("they are believed to be as they were") == 1
    assert known.has_alarm(watched)
    known.close()


def test_what_is_configured(tmp_path):
    path = tmp_path / "farthing.toml"
    path.write_text(CONFIG.format(plans='on_alarm = "warn"\nalarm_level = 0.05'))
    assert (load(path).on_alarm, load(path).alarm_level) == ("warn", 0.05)
    path.write_text(CONFIG.format(plans="alarm_level = 1"))
    with pytest.raises(ConfigError, match=r"plans\.alarm_level"):
        load(path)
    path.write_text(CONFIG.format(plans='on_alarm = "sleep"'))
    with pytest.raises(ConfigError, match=r"plans\.on_alarm"):
        load(path)


async def test_comments_make_no_other_plan(place):
    file = place.folder / "plan.toml"
    digest = load_plan(file).digest
    file.write_text("# mine\n\n" + file.read_text())
    assert load_plan(file).digest == digest
    file.write_text(file.read_text().replace("alpha = 0.2", "alpha = 0.3"))
    assert load_plan(file).digest != digest
