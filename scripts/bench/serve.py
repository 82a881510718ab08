#!/usr/bin/env -S .venv/bin/python
"""Serving: fifty clients that record, a hundred dashboards that are open, and the page of runs over 100,000 of them.

record      clients that begin and end runs over HTTP, each at its own pace, beside the same requests to the bare framework
dashboards  pages that stay open, each with its events, and are fetched anew as things change; what the process holds
runs        the page of runs, in several orders and filters, beside the SQL of each alone
"""

import asyncio
import json
import multiprocessing
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import _harness
import numpy as np
import psutil
from sqlalchemy.dialects import sqlite

from learning_loop.app import App
from learning_loop.ledger import Filter
from learning_loop.ledger.listing import listed, numbered
from learning_loop.records import Execution, Outcome, Score, utc_now
from learning_loop.workspace import Workspace
from tests.serving import Server, serving

CLIENTS, DASHBOARDS = 50, 100
PACE_S = 1.0  # between two runs of one client
BARE = """
import sys
import uvicorn
from fastapi import FastAPI
from learning_loop.api.running import bound
from learning_loop.api.v1.shapes import Begun, Ended, OutcomeIn, TaskIn

app = FastAPI()


@app.post("/api/v1/tasks", status_code=201)
def begin(task: TaskIn) -> Begun:
    return Begun.model_validate({"execution_id": task.id, "started_at": "2026-01-01T00:00:00Z", "parameters": task.parameters,
        "set_by_rules": [], "briefing": "", "notes": [], "rules": [], "warnings": []})


@app.post("/api/v1/executions/{execution_id}/finish")
def finish(execution_id: str, outcome: OutcomeIn) -> Ended:
    return Ended(execution_id=execution_id, status="succeeded", success=True, score=None, card=None, learnings=[],
        improvements=[], notes=[], warnings=[])


listening = bound("127.0.0.1", 0)
print(listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listening])
"""


class Connection:
    """A connection that is kept: as little of HTTP as a load needs."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        status = int((await reader.readline()).split()[1])
        size = 0
        while (line := await reader.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        return status, await reader.readexactly(size)


async def _recording(port: int, seconds: float, seed: int) -> tuple[list[float], list[str], list[str]]:
    """Return the latencies in seconds, the runs that were answered, and what went wrong, of all clients."""
    latencies, runs, wrong = list[float](), list[str](), list[str]()
    until = time.perf_counter() + seconds

    async def client(number: int) -> None:
        rng, connection = random.Random(f"{seed} {number}"), Connection(port)
        await asyncio.sleep(rng.random() * PACE_S)
        count = 0
        while time.perf_counter() < until:
            count += 1
            task = {"id": f"c{number}-{count}", "type": "build", "component": rng.choice("abcd"), "parameters": {"n": count}}
            began = time.perf_counter()
            status, body = await connection.ask("POST", "/api/v1/tasks", task)
            latencies.append(time.perf_counter() - began)
            if status != 201:
                wrong.append(f"{status} {body[:200]!r}")
                continue
            run = json.loads(body)["execution_id"]
            ended = {"success": rng.random() < 0.9, "duration_s": rng.expovariate(1.0)}
            middle = time.perf_counter()
            status, body = await connection.ask("POST", f"/api/v1/executions/{run}/finish", ended)
            latencies.append(time.perf_counter() - middle)
            (runs if status == 200 else wrong).append(run if status == 200 else f"{status} {body[:200]!r}")
            await asyncio.sleep(max(0.0, rng.uniform(0.5, 1.5) * PACE_S - (time.perf_counter() - began)))

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return latencies, runs, wrong


def _load(port: int, seconds: float, seed: int) -> tuple[list[float], list[str], list[str]]:
    return asyncio.run(_recording(port, seconds, seed))


def record(bench: _harness.Bench, root: Path, pool: Any) -> None:
    seconds, rounds = (6.0, 1) if bench.quick else (60.0, 3)
    plain, took, runs, wrong = list[float](), list[float](), list[str](), list[str]()
    workspace, _ = Workspace.init(root)
    with serving(root) as server, subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, text=True) as bare:
        assert bare.stdout is not None
        ours, theirs = _port(server), int(bare.stdout.readline())
        for port in (ours, theirs):
            pool.apply(_load, (port, 2.0, bench.seed + 1))  # warm
        for number in bench.progress(range(rounds), "recording", rounds):  # in turns, for a machine is quicker now and then
            latencies, _, faults = pool.apply(_load, (theirs, seconds / rounds, bench.seed + number))
            assert not faults, faults[:3]
            plain += latencies
            latencies, answered, faults = pool.apply(_load, (ours, seconds / rounds, bench.seed + number))
            took, runs, wrong = took + latencies, runs + answered, wrong + faults
        held = _held(server)
        bare.kill()
        server.kill()  # what was answered is on record
    with App.open(workspace, environ={"LEARNING_LOOP_MEMORY_EMBEDDER": "lexical"}) as app:
        kept = sum(app.ledger.execution(run).status in ("succeeded", "failed") for run in runs)
    p99, base = (float(np.percentile(values, 99)) * 1000 for values in (took, plain))
    bench.row(part="record", what=f"requests of {CLIENTS} clients in {seconds:g} s", value=len(took), of=len(plain))
    bench.row(
        part="record",
        what="p50, ms; of the bare framework",
        value=round(float(np.median(took)) * 1000, 2),
        of=round(float(np.median(plain)) * 1000, 2),
    )
    bench.row(part="record", what="p99, ms; of the bare framework", value=round(p99, 2), of=round(base, 2))
    bench.row(part="record", what="MB held afterwards", value=round(held, 1))
    bench.goal("answers that were errors", len(wrong), 0)
    bench.goal("runs that were answered, and lost when the server was killed", len(runs) - kept, 0)
    bench.goal("p99 beside the bare framework's own, times", p99 / base, 3.0)


def _held(server: Server) -> float:
    """Return the MB that a server and what it began hold; what they share is counted once."""
    process = psutil.Process(server.process.pid)
    return sum(each.memory_full_info().pss for each in (process, *process.children(recursive=True))) / 2**20


def _port(server: Server) -> int:
    return int(server.address.rpartition(":")[2])


async def _looking(port: int, seconds: float) -> tuple[int, int]:
    """Return how many events came and how many pages were fetched, of all dashboards; a run is recorded now and then."""
    events = pages = 0
    until = time.perf_counter() + seconds

    async def dashboard() -> None:
        nonlocal events, pages
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection, last = Connection(port), 0.0
        while (left := until - time.perf_counter()) > 0:
            try:
                line = await asyncio.wait_for(reader.readline(), left)
            except TimeoutError:
                break
            if line.startswith(b"data:"):
                events += 1
                if time.perf_counter() - last >= 1.5:
                    last = time.perf_counter()
                    status, _ = await connection.ask("GET", "/admin")
                    assert status == 200
                    pages += 1
        writer.close()

    async def working() -> None:
        connection, number = Connection(port), 0
        while time.perf_counter() < until - 1:
            number += 1
            _, body = await connection.ask("POST", "/api/v1/tasks", {"id": f"t{number}", "type": "build"})
            await connection.ask("POST", f"/api/v1/executions/{json.loads(body)['execution_id']}/finish", {"success": True})
            await asyncio.sleep(1.0)

    await asyncio.gather(working(), *(dashboard() for _ in range(DASHBOARDS)))
    return events, pages


def _watch(port: int, seconds: float) -> tuple[int, int]:
    return asyncio.run(_looking(port, seconds))


def dashboards(bench: _harness.Bench, root: Path, pool: Any) -> None:
    with serving(root) as server:
        before = _held(server)
        events, pages = pool.apply(_watch, (_port(server), 8.0 if bench.quick else 40.0))
        held = _held(server)
    bench.row(part="dashboards", what=f"{DASHBOARDS} open: events told, pages fetched", value=events, of=pages)
    bench.row(part="dashboards", what="MB held with none", value=round(before, 1))
    bench.goal(f"MB held with {DASHBOARDS} dashboards open", held, 200.0)


ASKED: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("the newest", {}, {}),
    ("failed ones", {"status": "failed"}, {"status": "failed"}),
    ("of a component", {"component": "c7"}, {"components": ("c7",)}),
    ("the slowest", {"order": "duration"}, {}),
    ("the best", {"order": "score"}, {}),
    ("by words", {"search": "number 9999"}, {}),
)


def runs(bench: _harness.Bench, root: Path) -> None:
    size = 10_000 if bench.quick else 100_000
    workspace, _ = Workspace.init(root)
    with App.open(workspace, environ={"LEARNING_LOOP_MEMORY_EMBEDDER": "lexical"}) as app:
        for start in bench.progress(range(0, size, 1_000), "runs", size // 1_000):
            app.ledger.append(*(row for number in range(start, start + 1_000) for row in _rows(number, size)))
    with serving(root) as server, server.client() as client, sqlite3.connect(workspace.ledger) as connection:
        client.get("/admin/runs")
        for what, query, filters in ASKED:
            page, alone = list[float](), list[float]()
            for number in range(5 if bench.quick else 15):
                began = time.perf_counter()
                answer = client.get("/admin/runs", params={**query, "sprint": "", "limit": 50 + number})  # none is kept
                page.append(time.perf_counter() - began)
                assert answer.status_code == 200, answer.text
                began = time.perf_counter()
                for statement in _sql(query, filters, 50 + number):
                    connection.execute(statement).fetchall()
                alone.append(time.perf_counter() - began)
            took, floor = (float(np.median(values)) * 1000 for values in (page, alone))
            bench.row(part="runs", what=f"{what}: page and its SQL alone, ms", value=round(took, 1), of=round(floor, 1))
            bench.goal(f"the page of runs, {what}, beside its SQL alone, times", took / floor, 3.0)


def _sql(query: dict[str, Any], filters: dict[str, Any], limit: int) -> list[str]:
    """Return the statements that the page takes: a page of rows, how many there are, and what the newest have."""
    wanted, search, order = Filter(**filters), query.get("search"), query.get("order", "started")
    statements = [
        listed(wanted, search, order, None, limit + 1, descending=True),
        numbered(wanted, search),
        listed(Filter(), None, "started", None, 1_000, descending=True),
    ]
    return [str(one.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})) for one in statements]


def _rows(number: int, size: int) -> list[Any]:
    rng, name = random.Random(number), f"r{number:07}"
    begun = utc_now() - timedelta(seconds=60 * (size - number))
    good, took = rng.random() < 0.8, rng.expovariate(1.0)
    component = f"c{rng.randrange(40)}"
    return [
        Execution(
            id=name, task_id=f"build number {number}", task_type="build", component=component, agent=rng.choice("ab"),
            description=None, parameters={"n": number}, dependencies=(), assumptions=(), tags=(), project=None,
            sprint=None, parent_id=None, critical=False, idempotent=True, inputs_digest=None, inputs_preview=None,
            started_at=begun, host="here", pid=1, process_started_at=None,
        ),
        Outcome(
            execution_id=name, task_type="build", component=component, project=None, status="succeeded" if good else "failed",
            success=good, ended_at=begun + timedelta(seconds=took), duration_s=took, cost_usd=took / 100,
            error_message=None if good else "no answer within 30 s", error_type=None if good else "TimeoutError",
        ),
        Score(
            execution_id=name, scoring="1", at=begun, accuracy=100.0 * good, efficiency=None, reusability=None, surprise=None,
            overall=rng.uniform(0, 100), basis={},
        ),
    ]  # fmt: skip


def work(bench: _harness.Bench) -> None:
    with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(1) as pool:
        if bench.wants("record"):
            record(bench, Path(folder) / "recorded", pool)
        if bench.wants("dashboards"):
            Workspace.init(Path(folder) / "watched")
            dashboards(bench, Path(folder) / "watched", pool)
        if bench.wants("runs"):
            runs(bench, Path(folder) / "many")


if __name__ == "__main__":
    _harness.run("serve", __doc__.splitlines()[0], work)
