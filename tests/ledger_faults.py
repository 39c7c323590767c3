"""A program that kills writers of ledgers, or fills their disks, and tells what is found after.

    ledger_faults.py kill spooling|replaying|returning FOLDER TIMES
    ledger_faults.py full FOLDER

It has no threads of its own, so that it can fork.
"""

import asyncio
import json
import logging
import os
import random
import resource
import signal
import sqlite3
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from farthing.core.errors import LedgerError
from farthing.core.money import Cost
from farthing.ledger import (
    AttemptRow,
    ChargeRow,
    Ledger,
    OperationRow,
    OutcomeRow,
    ReservationRow,
    _writer,
    new_id,
)
from farthing.ledger.replay import replay

_writer._LOCKED_S, _writer._PATIENCE_S, _writer._RETRY_S = 0.01, 0.02, 0.02
DAY = datetime(2026, 1, 31, tzinfo=UTC)


async def one(ledger):
    """Book an operation of 3 picodollars; returns its id."""
    id, now = new_id(), datetime.now(UTC)
    ledger.begin(OperationRow(id, now, "q", prompt="x" * 500))
    ledger.reserve(ReservationRow(id, "all", 1, Cost(9), now, "gw"))
    await asyncio.sleep(0)
    ledger.attempt(AttemptRow(id + ".0", id, 0, "n", "m", now, "ok", cost=Cost(3)))
    ledger.charge(ChargeRow(id, "all", 1, Cost(3), Cost(9), now, DAY, "gw"))
    await ledger.finish(OutcomeRow(id, now, "ok"))
    return id


def spooled(folder):
    path = folder / "away" / "l.db"
    return Ledger.open(path, on_failure="spool", spool=folder / "spool")


def fork(work):
    """Run `work` in a child, which ends with it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            logging.exception("child")
            os._exit(1)
        os._exit(0)
    return child


def booking(folder, pipe):
    """Book operations without end, and tell each that is confirmed."""

    async def client(ledger):
        while True:  # until it is killed
            os.write(pipe, (await one(ledger) + "\n").encode())

    async def main():
        async with spooled(folder) as ledger:
            await asyncio.gather(*(client(ledger) for _ in range(3)))

    asyncio.run(main())


def finish(folder):
    """A gateway that starts, replays, and stops."""

    async def main():
        async with spooled(folder) as ledger:
            while ledger.state != "ok" or (folder / "spool").stat().st_size:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            await one(ledger)

    asyncio.run(main())


def kill(what, folder, times):
    """Kill a writer at random moments, `times` in all; returns what was found after."""
    rng = random.Random(7)
    told = dict.fromkeys(("killed", "midway", "confirmed", "lost", "doubled"), 0)
    told["difference_pico"] = 0
    for number in range(times):
        place = folder / str(number)
        place.mkdir()
        read, write = os.pipe()
        child = fork(lambda place=place, write=write: booking(place, write))
        os.close(write)
        seconds = rng.uniform(0.3, 0.6) if what == "replaying" else rng.uniform(0.05, 0.25)
        if what == "returning":
            time.sleep(seconds)
            (place / "away").mkdir()
            seconds = rng.uniform(0, 0.2)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        told["killed"] += os.waitpid(child, 0)[1] == signal.SIGKILL
        with open(read) as lines:
            confirmed = {line.strip() for line in lines if line.endswith("\n")}
        (place / "away").mkdir(exist_ok=True)
        if what == "replaying":
            os.waitpid(fork(lambda place=place: make(place)), 0)
            for _ in range(3):
                again = fork(lambda place=place: replay_by_hand(place))
                time.sleep(rng.uniform(0.01, 0.08))
                os.kill(again, signal.SIGKILL)
                os.waitpid(again, 0)
                told["midway"] += is_midway(place)
        assert os.waitpid(fork(lambda place=place: finish(place)), 0)[1] == 0
        check(place / "away" / "l.db", confirmed, told)
    return told


def make(folder):
    asyncio.run(Ledger.open(folder / "away" / "l.db").close())


def replay_by_hand(folder):
    replay(folder / "spool", folder / "away" / "l.db")


def is_midway(folder):
    """Whether a part of the journal is in the ledger."""
    try:
        with closing(sqlite3.connect(folder / "away" / "l.db")) as connection:
            replayed = connection.execute("SELECT count(*) FROM replays").fetchone()[0]
    except sqlite3.OperationalError:
        return False
    return replayed > 0 and (folder / "spool").stat().st_size > 0


def check(path, confirmed, told):
    with closing(sqlite3.connect(path)) as connection:
        query = (
            "SELECT o.id, count(a.id), count(c.pico) FROM operations o "
            "JOIN outcomes u ON u.operation_id = o.id "
            "LEFT JOIN attempts a ON a.operation_id = o.id "
            "LEFT JOIN charges c ON c.operation_id = o.id GROUP BY o.id"
        )
        found = {id: (attempts, charges) for id, attempts, charges in connection.execute(query)}
        charged = connection.execute("SELECT sum(pico) FROM charges").fetchone()[0]
        summed = connection.execute("SELECT sum(pico) FROM spending").fetchone()[0]
    told["confirmed"] += len(confirmed)
    told["lost"] += len(confirmed - found.keys())
    told["doubled"] += sum(counts != (1, 1) for counts in found.values())
    told["difference_pico"] += abs(charged - summed)


def full(folder):
    """Book while files may not grow, and then may again."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    return {mode: asyncio.run(fill(folder / mode, mode)) for mode in ("refuse", "spool")}


async def fill(folder, mode):
    (folder / "away").mkdir(parents=True)
    path = folder / "away" / "l.db"
    if mode == "spool":
        (folder / "away").rmdir()
        ledger = spooled(folder)
    else:
        ledger = Ledger.open(path)
    told = {"states": [], "booked": 0, "confirmed": 0}

    async def some(count):
        for _ in range(count):
            told["booked"] += 1
            try:
                await one(ledger)
            except LedgerError:
                continue
            told["confirmed"] += 1

    await some(5)
    told["states"].append("ok" if ledger.state == "spooling" else ledger.state)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))
    try:
        await some(20)
        told["states"].append(ledger.state)
        try:
            ledger.check()
        except LedgerError as error:
            told["check"] = repr(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    (folder / "away").mkdir(exist_ok=True)
    async with asyncio.timeout(30):
        while ledger.state != "ok":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    told["states"].append(ledger.state)
    await ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT count(*) FROM attempts JOIN outcomes USING (operation_id)"
        told["found"] = connection.execute(query).fetchone()[0]
    return told


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    if sys.argv[1] == "full":
        print(json.dumps(full(Path(sys.argv[2]))))
    else:
        print(json.dumps(kill(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))))
