"""The REST interface: what it says it does, it does; what it must not do, it does not."""

import base64
import concurrent.futures
import gzip
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pydantic
import pytest

from learning_loop import LearningOrchestrator
from learning_loop.api.beside import Beside
from learning_loop.api.jobs import Jobs
from learning_loop.api.v1 import shapes
from learning_loop.app import App
from learning_loop.errors import ConflictError
from learning_loop.flows.alerts import alerts
from learning_loop.flows.following import A_PASS, DONE, DUE, FOLLOWED
from learning_loop.flows.tokens import create_token
from learning_loop.index import Scope
from learning_loop.ledger import Filter
from learning_loop.workspace import Workspace
from tests.conftest import WORDS_ONLY
from tests.serving import Server, serving

V1 = "/api/v1"
AGES_AGO = datetime(2020, 3, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    workspace, _ = Workspace.init(tmp_path_factory.mktemp("served") / "w")
    with serving(workspace.root) as server:
        yield server


@pytest.fixture
def client(served: Server) -> Iterator[httpx2.Client]:
    with served.client() as client:
        yield client


def begun(client: httpx2.Client, **task: Any) -> str:
    answer = client.post(f"{V1}/tasks", json={"id": "b1", "type": "build", "component": "wheel", **task})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["execution_id"])


def ended(client: httpx2.Client, execution: str, **outcome: Any) -> dict[str, Any]:
    answer = client.post(f"{V1}/executions/{execution}/finish", json=outcome, params={"wait": True})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def on_record(client: httpx2.Client, execution: str) -> dict[str, Any]:
    return dict(client.get(f"{V1}/executions/{execution}").json())


# ---------------------------------------------------------------------------------------------------- a run, from elsewhere


def test_an_error_may_be_said_as_one_text(client: httpx2.Client) -> None:
    long, lines = "E" * 600 + "Error: boom", "OSError: the disk is full\nsee the log"
    for text, kind, message in (
        ("TimeoutError: no answer", "TimeoutError", "no answer"),
        ("it broke", None, "it broke"),
        (long, "E" * 600 + "Error", "boom"),
        (lines, "OSError", lines),
    ):
        run = ended(client, begun(client, type="broken"), error=text)["execution_id"]
        said = on_record(client, run)["outcome"]
        assert (said["success"], said["error_type"], said["error_message"]) == (False, kind, message)
    for blank in ("", " \n\n "):
        assert ended(client, begun(client, type="broken"), error=blank, success=True)["success"] is True
        assert ended(client, begun(client, type="broken"), error=blank)["success"] is None


def test_a_run_of_another_language_is_recorded_scored_and_learned_from(client: httpx2.Client) -> None:
    run = begun(client, parameters={"python": "3.12"}, tags=["nightly"])
    assert on_record(client, run)["status"] == "running"
    made = client.post(f"{V1}/executions/{run}/decisions", json={"point": "model", "options": ["small", "large"]}).json()
    assert made["chosen"] in ("small", "large")
    assert sum(made["probabilities"]) == pytest.approx(1)
    done = ended(
        client,
        run,
        error={"type": "TimeoutError", "message": "no answer within 30 s"},
        duration_s=30,
        measures={"iterations": 3},
        steps=[{"id": "s1", "role": "compile", "duration_ms": 12.5}],
        usage=[{"model": "m", "tokens": 900, "cost_usd": 0.002}],
        discoveries=["the cache was cold"],
    )
    assert done["status"] == "failed"
    assert done["card"]["accuracy"] == 0
    assert done["notes"]
    kept = on_record(client, run)
    assert kept["outcome"]["error_type"] == "TimeoutError"
    assert kept["outcome"]["cost_usd"] == 0.002
    assert kept["outcome"]["duration_s"] == 30
    assert kept["outcome"]["cpu_s"] is None  # what the server used says nothing of the work
    assert [step["role"] for step in kept["steps"]] == ["compile"]
    assert [one["point"] for one in kept["decisions"] if one["point"] == "model"] == ["model"]
    note = client.get(f"{V1}/memory/notes/{done['notes'][0]}").json()
    assert "ran out of time" in note["content"]
    found = client.get(f"{V1}/memory/query", params={"q": "what failed last time we tried the wheel?"}).json()
    assert run in json.dumps(found)


def test_what_nobody_says_is_unknown(client: httpx2.Client) -> None:
    done = ended(client, begun(client, id="unknown"))
    assert (done["status"], done["success"], done["score"]) == ("unknown", None, None)
    assert ended(client, begun(client, id="stopped"), cancelled=True)["status"] == "cancelled"


def test_a_run_ends_once_however_often_it_is_said(client: httpx2.Client) -> None:
    run = begun(client, id="twice")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda success: ended(client, run, success=success), [True, False] * 8))
    assert len({answer["status"] for answer in answers}) == 1
    assert client.get(f"{V1}/executions", params={"task_id": "twice"}).json()["items"][0]["status"] == answers[0]["status"]


def test_feedback_changes_how_a_run_is_judged(client: httpx2.Client) -> None:
    run = begun(client, id="judged", type="judged")
    ended(client, run, success=True)
    assert client.post(f"{V1}/executions/{run}/feedback", json={"metric": "success", "value": False}).json()["score"] == 0
    row = client.get(f"{V1}/executions", params={"task_id": "judged"}).json()["items"][0]
    assert (row["status"], row["success"]) == ("failed", False)


def test_parts_belong_to_a_run_that_there_is(client: httpx2.Client) -> None:
    run = begun(client, id="whole")
    part = begun(client, id="part", parent_id=run)
    assert on_record(client, part)["execution"]["parent_id"] == run
    assert client.post(f"{V1}/tasks", json={"id": "x", "parent_id": "no such"}).status_code == 404


# ------------------------------------------------------------------------------------------------------------- lists


@pytest.mark.parametrize("what", ["memory/notes", "audit"])
def test_what_comes_while_somebody_pages_shows_nothing_twice_and_leaves_nothing_out(client: httpx2.Client, what: str) -> None:
    def write(number: int) -> None:
        content = f"---\nid: {what[:5]}{number}\ncreated: 2040-01-{number + 1:02}T00:00:00Z\n---\n# {number}\n"
        answer = client.put(f"{V1}/memory/notes/memory/lessons/{what[:5]}{number}.md", json={"content": content})
        assert answer.status_code < 300, answer.text

    for number in range(5):
        write(number)
    before = client.get(f"{V1}/{what}", params={"limit": 500}).json()["items"]
    found, cursor = [], None
    while True:
        page = client.get(f"{V1}/{what}", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        found += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
        if len(found) < 20:
            write(5 + len(found))
    assert found == before


@pytest.mark.parametrize("order", ["started", "duration", "cost", "score", "task"])
@pytest.mark.parametrize("descending", [True, False])
def test_pages_have_every_row_once_in_any_order(client: httpx2.Client, order: str, *, descending: bool) -> None:
    for number in range(12):
        run = begun(client, id=f"paged{number % 5}", type="paged")
        if number % 3:
            ended(client, run, success=bool(number % 2), duration_s=number % 4, usage=[{"model": "m", "cost_usd": 0.1}])
    asked: dict[str, Any] = {"type": "paged", "order": order, "descending": descending, "limit": 5}
    found, cursor = [], None
    while True:
        page = client.get(f"{V1}/executions", params={**asked, **({"cursor": cursor} if cursor else {})}).json()
        found += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    ids = [row["id"] for row in found]
    total = len(client.get(f"{V1}/executions", params={"type": "paged", "limit": 500}).json()["items"])
    assert len(ids) == len(set(ids)) == total
    column = {"started": "started_at", "duration": "duration_s", "cost": "cost_usd", "task": "task_id"}.get(order, order)
    values = [row[column] for row in found if row[column] is not None]
    assert values == sorted(values, reverse=descending)
    assert all(row[column] is None for row in found[len(values) :])  # what is unknown comes last


def test_lists_are_narrowed_and_searched(client: httpx2.Client) -> None:
    ended(client, begun(client, id="needle in a stack", project="hay"), error={"message": "100% wrong_thing"})
    for asked in (
        {"search": "needle stack"},
        {"search": "100% wrong_"},
        {"project": "hay"},
        {"search": "NEEDLE", "status": "failed"},
    ):
        assert [row["task_id"] for row in client.get(f"{V1}/executions", params=asked).json()["items"]] == ["needle in a stack"]
    assert client.get(f"{V1}/executions", params={"search": "100_ wrong"}).json()["items"] == []
    lines = client.get(f"{V1}/executions.jsonl", params={"project": "hay"}).text.splitlines()
    assert [json.loads(line)["task_id"] for line in lines] == ["needle in a stack"]


# ------------------------------------------------------------------------------------------------- again, and after a crash


def test_the_same_request_with_the_same_key_is_done_once(client: httpx2.Client) -> None:
    key = {"Idempotency-Key": "k1"}
    task = {"id": "keyed"}
    first, again = (client.post(f"{V1}/tasks", json=task, headers=key) for _ in range(2))
    assert first.content == again.content
    assert again.headers["idempotency-replayed"] == "true"
    assert len(client.get(f"{V1}/executions", params={"task_id": "keyed"}).json()["items"]) == 1
    other = client.post(f"{V1}/tasks", json={"id": "another"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "key_used")
    run = first.json()["execution_id"]
    said = {"metric": "rating", "value": 5}
    for _ in range(3):
        client.post(f"{V1}/executions/{run}/feedback", json=said, headers={"Idempotency-Key": "k2"})
    assert [one["metric"] for one in on_record(client, run)["feedback"]] == ["rating"]
    refused = client.post(f"{V1}/executions/nope/feedback", json=said, headers={"Idempotency-Key": "k3"})
    assert refused.status_code == 404
    assert client.post(f"{V1}/executions/{run}/feedback", json=said, headers={"Idempotency-Key": "k3"}).status_code == 200


def test_a_key_that_was_forgotten_answers_with_nobody_elses_run(client: httpx2.Client) -> None:
    key = {"Idempotency-Key": "forgotten"}
    first = client.post(f"{V1}/tasks", json={"id": "first"}, headers=key).json()["execution_id"]
    ended(client, first, success=True)
    assert client.delete(f"{V1}/executions/{first}").status_code == 204
    other = client.post(f"{V1}/tasks", json={"id": "second"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "key_used")


def test_nobody_waits_for_what_somebody_else_learns(client: httpx2.Client) -> None:
    runs = [begun(client, id=f"slow{number}") for number in range(30)]
    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        waiting = [pool.submit(ended, client, run, error={"message": "no answer"}) for run in runs]
        reading = [pool.submit(client.get, f"{V1}/memory/query", params={"q": "what failed?"}) for _ in range(30)]
        took = []
        for number in range(10):
            began = time.monotonic()
            begun(client, id=f"quick{number}")
            took.append(time.monotonic() - began)
        assert all(one.result()["status"] == "failed" for one in waiting)
        assert all(one.result().status_code == 200 for one in reading)
    assert sorted(took)[5] < 1.5


def test_each_run_is_reflected_on_once_however_many_wait(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    with LearningOrchestrator(workspace=workspace.root, environ=WORDS_ONLY) as loop:
        runs = [loop.begin_elsewhere({"id": f"t{number}", "type": "build"}) for number in range(12)]
        for run in runs:
            run.outcome(success=False, error_message="no answer within 30 s")
            run.reflects = "later"
            run.finish(run, None, None)
        follower = loop.follower()
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            found = list(pool.map(lambda run: follower.wait_for(run.id, wait_s=60.0), runs))
        assert all(one.notes for one in found)
        done = [one.subject for one in loop.app.ledger.events(DONE)]
        assert done == [run.id for run in runs]


def test_what_a_run_teaches_is_found_out_though_the_server_died_at_once(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    with serving(workspace.root) as server, server.client() as client:
        for number in range(5):
            run = begun(client, id=f"f{number}")
            answer = client.post(f"{V1}/executions/{run}/finish", json={"error": {"message": "no space left on device"}})
            assert answer.json()["notes"] == []  # nobody waited for it
        server.kill()
    again = [sys.executable, "-m", "learning_loop", "-C", str(workspace.root), "follow", "--once"]
    told = [subprocess.run(again, capture_output=True, text=True, check=True, env={**os.environ, **WORDS_ONLY}) for _ in "ab"]
    assert told[1].stdout == "reflected on 0 runs\n"
    with App.open(workspace, environ=WORDS_ONLY) as app:
        due, done = app.ledger.events(DUE), app.ledger.events(DONE)
        assert len(due) >= 5
        assert [one.subject for one in done] == [one.subject for one in due]  # each once, whoever did it
        assert app.ledger.note_versions()


def test_what_could_not_be_written_down_is_when_it_can_be(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    folder = workspace.memory / "short-term"
    shutil.rmtree(folder)
    folder.write_text("a file stands in its way", encoding="utf-8")
    with serving(workspace.root) as server, server.client() as client:
        run = begun(client)
        assert ended(client, run, error={"message": "no space left on device"})["notes"] == []
        folder.unlink()
        deadline = time.monotonic() + 30
        while not (found := on_record(client, run)["notes"]) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert found
        assert all((workspace.root / path).is_file() for path in found)


def test_kinds_that_failed_while_nobody_followed_are_looked_at(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    with LearningOrchestrator(workspace=workspace.root, environ=WORDS_ONLY) as loop:
        for number in range(8):
            run = loop.begin_elsewhere({"id": f"r{number}", "type": "build"})
            run.reflects = "later"
            run.outcome(success=False, error_message="no space left on device", error_type="OSError")
            run.finish(run, None, None)
        assert alerts(loop.app) == []
    again = [sys.executable, "-m", "learning_loop", "-C", str(workspace.root), "follow", "--once"]
    subprocess.run(again, capture_output=True, check=True, env={**os.environ, **WORDS_ONLY})
    with App.open(workspace, environ=WORDS_ONLY) as app:
        assert "repeated_error" in [alert.sort for alert in alerts(app)]
        assert app.ledger.events(FOLLOWED, last=1)[0].data["place"] == app.ledger.last_place()


def test_an_alert_opens_though_no_other_run_comes(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    with LearningOrchestrator(workspace=workspace.root, environ=WORDS_ONLY) as loop:
        follower = loop.follower()
        for number in range(9):  # what ran first is looked at, and the others are told of too soon after that
            run = loop.begin_elsewhere({"id": f"r{number}", "type": "build" if number else "other"})
            run.reflects = "later"
            run.outcome(success=not number, error_message="no space left on device", error_type="OSError")
            run.finish(run, None, None)
            follower.follow()
        deadline = time.monotonic() + 30
        while not alerts(loop.app):
            assert time.monotonic() < deadline
            time.sleep(0.1)
            follower.follow()


def test_the_index_comes_round_however_much_there_is_to_reflect_on(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    with LearningOrchestrator(workspace=workspace.root, environ=WORDS_ONLY) as loop:
        for number in range(2 * A_PASS):
            run = loop.begin_elsewhere({"id": f"r{number}", "type": "build", "component": f"c{number % 5}"})
            run.reflects = "later"
            run.outcome(success=False, error_message="no space left on device", error_type="OSError")
            run.finish(run, None, None)
        follower, known = loop.follower(), list[int]()

        def go_on() -> bool:
            known.append(len(loop.app.index.newest(Scope(categories=("reflection",)), limit=10)))
            return True

        assert follower.follow(go_on) >= 2 * A_PASS
        assert known[A_PASS] == 5


def test_a_note_that_is_forgotten_is_nowhere(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    path, key = f"{V1}/memory/notes/memory/long-term/s.md", {"Idempotency-Key": "n1"}
    with serving(workspace.root) as server, server.client() as client:
        note = {"content": "---\nid: s\nkind: lesson\n---\n# ZEBRA\n"}
        assert client.put(path, json=note, headers=key).status_code == 200
        task = client.post(f"{V1}/tasks", json={"id": "t", "type": "x"}, headers={"Idempotency-Key": "t1"}).json()
        assert client.delete(path).status_code == 204
        assert client.put(path, json=note, headers=key).status_code == 409
        again = client.post(f"{V1}/tasks", json={"id": "t", "type": "x"}, headers={"Idempotency-Key": "t1"})
        assert again.json()["execution_id"] == task["execution_id"], "to begin may be said again"
        assert server.stop() == 0
    kept = [file for file in workspace.root.rglob("*") if file.is_file() and b"ZEBRA" in file.read_bytes()]
    assert kept == []


def test_a_server_that_is_asked_to_end_at_once_does(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    command = [sys.executable, "-m", "learning_loop", "-C", str(workspace.root), "serve", "--port", "0"]
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **WORDS_ONLY}) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("pages")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


@pytest.mark.parametrize("order", ["started", "task", "score"])
@pytest.mark.parametrize("place", [[None, None], [1.0, None], ["x", None], [None], "x", [1, 2, 3]])
def test_a_cursor_that_is_none_of_ours_is_no_page(client: httpx2.Client, order: str, place: Any) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(place).encode()).decode()
    answer = client.get(f"{V1}/executions", params={"order": order, "cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_loops_own_decision_points_are_nobodys(client: httpx2.Client) -> None:
    asked = {"point": "strategy", "options": ["a"]}
    assert client.post(f"{V1}/decisions", json=asked).status_code == 409
    assert client.post(f"{V1}/executions/{begun(client)}/decisions", json=asked).status_code == 409


def test_of_a_kind_one_job_is_under_way_in_all_processes(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    go_on = threading.Event()

    def work(told: Any) -> dict[str, Any]:
        told(0, 1)
        go_on.wait(30)
        return {"went": "well"}

    with App.open(workspace, environ=WORDS_ONLY) as app, App.open(workspace, environ=WORDS_ONLY) as other:
        here, there = Jobs(app), Jobs(other)
        job = here.start("packs", work, by="a", asked={})
        with pytest.raises(ConflictError, match="in another process"):
            there.start("packs", work, by="b", asked={})
        go_on.set()
        while here.one(job.id).state == "running":
            time.sleep(0.01)
        assert here.one(job.id).result == {"went": "well"}
        there.start("packs", work, by="b", asked={})
        here.close()
        there.close()


def test_a_job_that_begins_or_ends_while_it_is_looked_at_was_not_interrupted(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    with App.open(workspace, environ=WORDS_ONLY) as app:
        jobs, over, seen = Jobs(app), threading.Event(), set[str]()

        def look() -> None:
            while not over.is_set():
                seen.update(one.state for one in jobs.all(most=5))

        looking = [threading.Thread(target=look) for _ in range(2)]
        for thread in looking:
            thread.start()
        try:
            for number in range(250):
                job = jobs.start(f"kind-{number}", lambda _told: {"went": "well"}, by="a", asked={})
                while (found := jobs.one(job.id)).ended_at is None:
                    seen.add(found.state)
        finally:
            over.set()
            for thread in looking:
                thread.join()
            jobs.close()
        assert seen <= {"running", "done"}
        assert {one.state for one in jobs.all(most=300)} == {"done"}


def test_how_a_job_ended_is_put_down_later_where_the_ledger_is_locked(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    flags = {"ledger.busy_timeout_s": "0.05"}
    with App.open(workspace, environ=WORDS_ONLY, flags=flags) as app, sqlite3.connect(app.ledger.path) as lock:
        jobs, begun_, go_on = Jobs(app), threading.Event(), threading.Event()

        def work(_told: Any) -> dict[str, Any]:
            begun_.set()
            go_on.wait(30)
            return {"went": "well"}

        job = jobs.start("packs", work, by="a", asked={})
        begun_.wait(30)
        lock.execute("BEGIN IMMEDIATE")
        go_on.set()
        while jobs.one(job.id).ended_at is None:
            time.sleep(0.01)
        with pytest.raises(ConflictError, match="done: there is nothing to cancel"):
            jobs.cancel(job.id)
        time.sleep(0.2)
        lock.rollback()
        assert [event.data["state"] for event in app.ledger.events("served_job", job.id)] == ["running"]
        jobs.put_down()
        assert [event.data["state"] for event in app.ledger.events("served_job", job.id)] == ["running", "done"]
        jobs.close()


def test_what_follows_the_runs_is_begun_anew_and_ends_with_the_server(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    beside = Beside(workspace.root, {"recall.notes": "3"}, {**os.environ, **WORDS_ONLY})
    beside.keep()
    first = beside.pid
    assert first is not None
    beside.keep()
    assert beside.pid == first
    os.kill(first, signal.SIGKILL)
    while beside.pid == first:
        time.sleep(0.05)
        beside.keep()
    second = psutil.Process(beside.pid)
    beside.close()
    assert not second.is_running()
    beside.keep()  # a server that ends begins nothing
    assert not second.is_running()


def test_what_was_answered_survives_the_death_of_the_server(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    began, finished = list[str](), list[str]()
    for _ in range(3):
        with serving(workspace.root) as server, server.client() as client:
            for run in began[len(finished) :]:  # begun under the one before
                assert ended(client, run, success=True)["status"] == "succeeded"
                finished.append(run)
            stop = time.monotonic() + 0.5
            with concurrent.futures.ThreadPoolExecutor(8) as pool:

                def work(client: httpx2.Client = client, stop: float = stop) -> list[str]:
                    mine = []
                    while time.monotonic() < stop + 1:
                        try:
                            mine.append(begun(client, id=f"t{time.monotonic_ns()}"))
                        except httpx2.TransportError:
                            break
                    return mine

                working = [pool.submit(work) for _ in range(8)]
                time.sleep(0.5)
                server.kill()
                began += [run for one in working for run in one.result()]
    with App.open(workspace, environ=WORDS_ONLY) as app:
        assert app.ledger.known(began) == set(began)
        assert len(began) > 50
        kept = {run: app.ledger.execution(run).status for run in finished}
        assert set(kept.values()) == {"succeeded"}
        assert app.ledger.faults() == []


def test_a_server_that_is_asked_to_end_does_first_what_it_accepted(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    with serving(workspace.root) as server, server.client() as client:
        listening = client.stream("GET", f"{V1}/events")
        events = listening.__enter__()
        next(events.iter_lines())
        with concurrent.futures.ThreadPoolExecutor(16) as pool:

            def work(number: int) -> str | None:
                with server.client() as mine:
                    try:
                        answer = mine.post(f"{V1}/tasks", json={"id": f"t{number}"})
                    except httpx2.TransportError:
                        return None  # it was not accepted any more
                assert answer.status_code == 201, answer.text
                return str(answer.json()["execution_id"])

            working = [pool.submit(work, number) for number in range(400)]
            while sum(one.done() for one in working) < 40:
                time.sleep(0.01)
            assert server.stop() == 0
            began = [run for one in working if (run := one.result()) is not None]
        listening.__exit__(None, None, None)
    with App.open(workspace, environ=WORDS_ONLY) as app:
        assert len(began) >= 40
        assert app.ledger.known(began) == set(began)
        assert app.ledger.number_of(Filter()) == len(began)


def test_runs_that_nobody_ends_are_interrupted_in_the_end(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    with serving(workspace.root) as server, server.client() as client:
        run = begun(client)
    with (
        serving(workspace.root, environ={"LEARNING_LOOP_SERVE_ABANDONED_HOURS": "0.00001"}) as server,
        server.client() as client,
    ):
        assert on_record(client, run)["status"] == "interrupted"
        late = client.post(f"{V1}/executions/{run}/finish", json={"success": True})
        assert late.status_code == 409


# --------------------------------------------------------------------------------------------------------------- jobs


def test_a_job_is_followed_cancelled_and_remembered(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    with serving(workspace.root) as server, server.client() as client:
        job = client.post(f"{V1}/jobs/packs", json={"runs": 3}).json()
        assert _over(client, job["id"])["result"]["policy"] == "rules"
        long = client.post(f"{V1}/jobs/packs", json={"runs": 5_000}).json()
        busy = client.post(f"{V1}/jobs/packs", json={"runs": 1})
        assert busy.status_code == 409
        while not (client.get(f"{V1}/jobs/{long['id']}").json()["done"] or 0):
            time.sleep(0.05)
        assert client.post(f"{V1}/jobs/{long['id']}/cancel").status_code == 202
        assert _over(client, long["id"])["state"] == "cancelled"
        third = client.post(f"{V1}/jobs/packs", json={"runs": 5_000}).json()
        logged = client.get("/api/orchestrator/logs/runs").json()["items"]
        assert {row["task_type"] for row in logged} == {"pack"}
        server.kill()
    with serving(workspace.root) as server, server.client() as client:
        states = {one["id"]: one["state"] for one in client.get(f"{V1}/jobs").json()}
        assert states == {job["id"]: "done", long["id"]: "cancelled", third["id"]: "interrupted"}
        trained = client.post("/api/orchestrator/train", json={"epochs": 1})
        assert trained.status_code == 202
        assert _over(client, trained.json()["id"])["state"] in ("done", "failed")


def _over(client: httpx2.Client, name: str) -> dict[str, Any]:
    while (job := client.get(f"{V1}/jobs/{name}").json())["state"] == "running":
        time.sleep(0.05)
    return dict(job)


def test_synthesis_is_a_job_and_its_report_can_be_read(client: httpx2.Client) -> None:
    for number in range(3):
        ended(client, begun(client, id=f"week{number}"), success=True)
    job = _over(client, client.post(f"{V1}/jobs/synthesis", json={}).json()["id"])
    assert job["state"] == "done", job
    names = [item["name"] for item in client.get(f"{V1}/reports").json()["items"]]
    assert client.get(f"{V1}/reports/{names[0]}").text.startswith("#")


def test_the_index_is_kept_by_a_job_and_histories_go_out_and_come_in(client: httpx2.Client, tmp_path: Path) -> None:
    ended(client, begun(client, id="exported"), success=True)
    assert _over(client, client.post(f"{V1}/jobs/index", json={"rebuild": True}).json()["id"])["state"] == "done"
    history = client.get(f"{V1}/history.jsonl.gz").content
    workspace, _ = Workspace.init(tmp_path / "other")
    with serving(workspace.root) as other, other.client() as there:
        for added in (True, False):
            said = there.post(
                f"{V1}/history", content=gzip.decompress(history), headers={"Content-Type": "application/octet-stream"}
            )
            assert said.status_code == 200, said.text
            assert (said.json()["added"] > 0) == added
        assert there.get(f"{V1}/executions", params={"task_id": "exported"}).json()["items"]
        assert there.post(f"{V1}/history", content=b"nonsense", params={"format": "csv"}).status_code in (409, 422)
    assert client.get(f"{V1}/backup").content[:2] == b"\x1f\x8b"


def test_a_history_that_comes_packed_is_looked_at_first_and_is_not_endless(client: httpx2.Client, tmp_path: Path) -> None:
    ended(client, begun(client, id="packed"), success=True)
    history = client.get(f"{V1}/history.jsonl.gz").content
    workspace, _ = Workspace.init(tmp_path / "other")
    with serving(workspace.root) as other, other.client() as there:
        assert there.post(f"{V1}/history", content=history, params={"dry_run": True}).json()["read"] >= 1
        asked: Any = {"format": "csv", "dry_run": True, "mapping": "{started_at: when, type: what}"}
        looked = there.post(f"{V1}/history", content=gzip.compress(b"when,what\n2026-03-02 09:00,build\n"), params=asked).json()
        assert [one["execution"]["task_type"] for one in looked["shown"]] == ["build"]
        asked["mapping"] = "{started_at: when, type: what, description: what}"
        secret, key = b"when,what\n2026-03-02 09:00,password=hunter22hunter\n", {"Idempotency-Key": "once"}
        assert "hunter22" not in there.post(f"{V1}/history", content=secret, params=asked, headers=key).text
        with sqlite3.connect(workspace.ledger) as ledger:
            assert "hunter22" not in str(ledger.execute("SELECT body FROM answers").fetchall())
        assert there.get(f"{V1}/executions").json()["items"] == []
        bomb = there.post(f"{V1}/history", content=gzip.compress(bytes(101_000_000)))
        assert (bomb.status_code, "more than 100 MB" in bomb.json()["detail"]) == (409, True)
        twice = there.post(f"{V1}/history", content=gzip.compress(gzip.compress(bytes(300_000_000))))
        assert (twice.status_code, "packed twice" in twice.json()["detail"]) == (409, True)
        assert "breaks off" in there.post(f"{V1}/history", content=history[:-20]).json()["detail"]
        assert there.post(f"{V1}/history", content=history).json()["added"] >= 1


def test_what_would_be_done_is_said_and_not_done(client: httpx2.Client) -> None:
    ended(client, begun(client, id="looked-at"), success=True)
    before = client.get(f"{V1}/reports").json()["items"]
    week = f"{datetime.now(UTC):%G-W%V}"
    dry = _over(client, client.post(f"{V1}/jobs/synthesis", json={"week": week, "dry_run": True}).json()["id"])
    assert dry["result"]["synthesized"][0]["period"] == week
    assert client.get(f"{V1}/reports").json()["items"] == before
    none = client.post(f"{V1}/jobs/synthesis", json={"every": True, "dry_run": True})
    assert (none.status_code, "goes alone" in none.text) == (409, True)
    slug = client.get(f"{V1}/strategies").json()["strategies"][0]["slug"]
    asked = {"strategy": slug, "dry_run": True, "force": True}
    evolved = _over(client, client.post(f"{V1}/jobs/evolution", json=asked).json()["id"])["result"]["evolved"][0]
    assert (evolved["status"], evolved["test"]) == ("dry run", None)
    all_of_them = client.post(f"{V1}/jobs/evolution", json={"dry_run": True})
    assert (all_of_them.status_code, "say which strategy" in all_of_them.text) == (409, True)


def test_what_changed_between_versions_is_said(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    path = workspace.config / "strategies" / "mine.yaml"
    path.write_text("{name: mine}", encoding="utf-8")
    with serving(workspace.root) as server, server.client() as client:
        first = client.get(f"{V1}/strategies/mine").json()["version"]
        assert client.get(f"{V1}/strategies/mine/diff").status_code == 404
        path.write_text("{name: mine, retry_policy: {max_attempts: 3}}", encoding="utf-8")
        lines = client.get(f"{V1}/strategies/mine/diff").json()
        assert lines[0] == f"--- {first}"
        assert "+  max_attempts: 3" in lines
        back = client.get(f"{V1}/strategies/mine/diff", params={"version": first, "since": lines[1][4:]}).json()
        assert "-  max_attempts: 3" in back
        for asked in ({"version": first.replace("mine", "direct")}, {"since": "direct@00000000"}):
            assert client.get(f"{V1}/strategies/mine/diff", params=asked).status_code == 404
        assert client.get(f"{V1}/strategies/nobody/diff").status_code == 404


def test_what_is_learned_from_can_be_had_and_all_points_are_set_at_once(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    with serving(workspace.root) as server, server.client() as client:
        assert "001" in client.get(f"{V1}/lab").json()
        done = _over(client, client.post(f"{V1}/jobs/packs", json={"runs": 4, "pack": "tax-assist"}).json()["id"])
        point = next(iter(client.get(f"{V1}/policies").json()))
        steps = [json.loads(line) for line in client.get(f"{V1}/policies/{point}/experience.jsonl").text.splitlines()]
        assert {step["execution_id"] for step in steps} == set(done["result"]["runs"])
        assert client.get(f"{V1}/policies/nowhere/experience.jsonl").status_code == 404
        said = client.put(f"{V1}/policies/mode", json={"mode": "production", "reason": "at once"}).json()
        assert said["points"] == []
        assert set(said["refused"]) == set(client.get(f"{V1}/policies").json()), "nothing was shown to help yet"
        said = client.put(f"{V1}/policies/mode", json={"mode": "shadow"}).json()
        assert {one["mode"] for one in said["points"]} == {"shadow"}
        asked = {"point": point, "epochs": 1, "only": {"pack": "no-such"}}
        assert "0 episodes" in str(_over(client, client.post(f"{V1}/jobs/training", json=asked).json()["id"])["error"])


def test_what_is_erased_leaves_the_reason_and_what_is_expired_goes_when_asked(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    with serving(workspace.root) as server, server.client() as client:
        old = begun(client)
        ended(client, old, success=True)
        assert client.post(f"{V1}/executions/expire").json() == []
        assert client.delete(f"{V1}/executions/{old}", params={"reason": "it named somebody"}).status_code == 204
        assert client.get(f"{V1}/audit").json()["items"][0]["reason"] == "it named somebody"
        row = client.get(f"{V1}/executions").json()["items"][0]
        assert (row["id"], row["status"]) == (old, "forgotten")
    with App.open(workspace, environ=WORDS_ONLY) as app:
        assert app.ledger.events("forgotten", old)[0].data["reason"] == "it named somebody"
    with LearningOrchestrator(lambda _: True, workspace=workspace.root, environ=WORDS_ONLY, clock=lambda: AGES_AGO) as loop:
        ancient = loop.execute_with_learning({"id": "ancient"}).execution_id
    with serving(workspace.root, environ={"LEARNING_LOOP_LEDGER_RETENTION_DAYS": "30"}) as server, server.client() as client:
        assert set(client.post(f"{V1}/executions/expire").json()) <= {ancient}  # or it is gone by itself already
        assert {row["id"]: row["status"] for row in client.get(f"{V1}/executions").json()["items"]}[ancient] == "forgotten"


# ---------------------------------------------------------------------------------------------------------------- live


def test_whoever_listens_is_told_what_is_new(client: httpx2.Client) -> None:
    with client.stream("GET", f"{V1}/events") as events:
        lines = (line for line in events.iter_lines() if line.startswith("data:"))
        before = json.loads(next(lines)[5:])
        begun(client, id="news")
        assert json.loads(next(lines)[5:])["executions"] == before["executions"] + 1


# -------------------------------------------------------------------------------------------------- the document, generated


def test_every_request_has_an_example_and_every_example_holds(client: httpx2.Client) -> None:
    document = client.get(f"{V1}/openapi.json").json()
    asked = {
        content["schema"]["$ref"].rpartition("/")[2]
        for path in document["paths"].values()
        for operation in path.values()
        for kind, content in operation.get("requestBody", {}).get("content", {}).items()
        if kind == "application/json" and "$ref" in content["schema"]
    }
    assert len(asked) >= 20
    assert [name for name in asked if not document["components"]["schemas"][name].get("examples")] == []
    shown = [
        shape for shape in vars(shapes).values()
        if isinstance(shape, type) and issubclass(shape, pydantic.BaseModel) and (shape.model_config.get("json_schema_extra"))
    ]  # fmt: skip
    answers = {"Begun", "DecisionOut", "Ended", "Row", "JobOut", "NoteOut", "AlertOut"}
    assert {shape.__name__ for shape in shown} >= asked | answers
    for shape in shown:
        for example in shape.model_config["json_schema_extra"]["examples"]:  # type: ignore[index, union-attr]
            assert shape.model_validate_json(json.dumps(example)) is not None


@pytest.mark.slow
@pytest.mark.parametrize("guarded", [False, True], ids=["open", "with tokens"])
def test_every_operation_keeps_to_the_document(tmp_path: Path, *, guarded: bool) -> None:
    """All checks of schemathesis but one, of the Allow header, that the framework's router does not meet.

    Where wrong tokens are tried as well, later ones are slowed down: so it is gone over without tokens, too.
    """
    workspace, _ = Workspace.init(tmp_path / "w")
    options = ["--exclude-checks", "allow_header_conformance,ignored_auth", "--exclude-path-regex", "tokens"]
    if guarded:
        with App.open(workspace, environ=WORDS_ONLY) as app:
            _, token = create_token(app, "tests", ["admin"], days=None)
        options = ["--header", f"Authorization: Bearer {token}", "--exclude-checks", "allow_header_conformance"]
    with serving(workspace.root) as server:
        command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.address}{V1}/openapi.json", *options]
        command += ["--checks", "all", "--seed", "1", "--no-color", "--max-examples", "20", "--max-time", "200"]
        command += ["--request-timeout", "60"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6_000:]
