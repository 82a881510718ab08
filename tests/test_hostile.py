"""What must not get through: scripts in what is recorded, requests of other sites, paths that lead out, too much of it."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from learning_loop.api.rendering import harmless
from learning_loop.app import App
from learning_loop.flows.tokens import create_token
from learning_loop.workspace import Workspace
from tests.conftest import WORDS_ONLY
from tests.serving import Server, serving

V1 = "/api/v1"
EVIL = '<img src=x onerror="window.hit=1"><script>window.hit=2</script>\'"></script>'
PAGES = ("", "/runs", "/memory", "/rules", "/experiments", "/policies", "/strategies", "/reports", "/alerts", "/settings")
SCOPES = ("read", "record", "steer", "admin")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    """Return a server that takes tokens, with one of each scope."""
    workspace, _ = Workspace.init(tmp_path_factory.mktemp("guarded") / "w")
    with App.open(workspace, environ=WORDS_ONLY) as app:
        tokens = {scope: create_token(app, scope, [scope], days=1)[1] for scope in SCOPES}
        tokens["over"] = create_token(app, "over", ["admin"], days=1e-9)[1]
    with serving(workspace.root) as server:
        yield server, tokens


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx2.Client, str]]:
    """Return a client of a workspace in which everything that can be named is named evilly, and one such run."""
    workspace, _ = Workspace.init(tmp_path_factory.mktemp("evil") / "w")
    title = EVIL.replace("'", "''")
    text = f"{EVIL}\n\n[link](javascript:alert(1)) ![x](data:text/html,x)\n"
    note = f"---\ntitle: '{title}'\nkind: lesson\n---\n{text}"
    (workspace.memory / "working-memory" / "evil.md").write_text(note, encoding="utf-8")
    rule = f"---\nkind: rule\ntitle: '{title}'\nthen: {{set: {{x: 1}}}}\nstatus: trial\n---\n{EVIL}\n"
    (workspace.memory / "rules" / "evil.md").write_text(rule, encoding="utf-8")
    with serving(workspace.root) as server, server.client() as client:
        for _ in range(4):
            task = dict.fromkeys(("id", "type", "component", "project", "agent", "sprint", "description"), EVIL)
            begun = client.post(f"{V1}/tasks", json={**task, "parameters": {EVIL: EVIL}, "tags": [EVIL], "assumptions": [EVIL]})
            run = str(begun.json()["execution_id"])
            client.post(f"{V1}/executions/{run}/decisions", json={"point": "model", "options": [EVIL, "other"]})
            ended: dict[str, Any] = {
                "error": {"type": EVIL, "message": EVIL},
                "output_tail": EVIL,
                "deviations": [EVIL],
                "discoveries": [EVIL],
            }
            ended |= {"result": {EVIL: EVIL}, "measures": {EVIL: EVIL}, "checkpoints": [{"name": EVIL, "data": {EVIL: EVIL}}]}
            ended |= {"usage": [{"model": EVIL}], "steps": [{"id": EVIL, "role": EVIL}]}
            assert client.post(f"{V1}/executions/{run}/finish", json=ended).status_code == 200
        job = client.post(f"{V1}/jobs/synthesis", json={}).json()["id"]
        while client.get(f"{V1}/jobs/{job}").json()["state"] == "running":
            time.sleep(0.05)
        yield client, run


# ------------------------------------------------------------------------------------------------------------------ scripts


def test_nothing_that_was_recorded_becomes_markup(evil: tuple[httpx2.Client, str]) -> None:
    client, run = evil
    notes = [item["path"] for item in client.get(f"{V1}/memory/notes").json()["items"]]
    reports = [item["name"] for item in client.get(f"{V1}/reports").json()["items"]]
    paths = [f"/admin{page}" for page in PAGES] + [f"/admin/runs/{run}", f"/admin/runs?search={quote(EVIL)}"]
    paths += [f"/admin/memory/note/{quote(path)}" for path in notes] + [f"/admin/memory/note/{quote(notes[0])}?edit=1"]
    paths += [f"/admin/reports/{quote(name)}" for name in reports] + [
        f"/admin/memory?q={quote(EVIL)}",
        f"/admin/runs/{quote(EVIL)}",
    ]
    paths += [f"/admin/login?next={quote(EVIL)}", f"/admin/policies?point={quote(EVIL)}", "/admin/alerts?resolved=true"]
    for path in paths:
        answer = client.get(path)
        page = answer.text.lower()
        assert "<script>window" not in page, path
        assert "<img src=x" not in page, path
        assert "javascript:alert" not in page.replace("[link](javascript:alert", ""), path
        assert "script-src 'self';" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]


def test_of_the_html_in_notes_only_what_reports_link_to_is_taken() -> None:
    evil = 'a <b onclick="x()">b</b> <a id="rows"></a> <a id="run-1" onclick="x()"></a>'
    evil += '\n\n<div id="run-2">\n<script>x()</script>\n</div>'
    page = harmless(f'{evil}\n\n| <a id="run-20260315-060000-mtycxxdc"></a>x |\n|---|\n', lambda path: None)
    assert '<th><a id="run-20260315-060000-mtycxxdc" rel="noopener noreferrer nofollow"></a>x</th>' in page
    assert harmless("a </a> [b </a> c](http://x)", lambda path: None).count("&lt;/a&gt;") == 2
    run = "`20260315-060000-mtycxxdc`"
    assert harmless(f"{run} [{run}](http://x) `20260315`", lambda path: None).count('<a href="/admin/runs/2026') == 1
    assert "&lt;a id=" in harmless('<a id="run-1">open', lambda path: None)
    assert "<img" not in harmless('<a id="run-1">`</a>` one <img src="/x"> two', lambda path: None)
    for text in ('<b onclick="x()">', '<a id="rows">', '<a id="run-1" onclick="x()">', '<div id="run-2">', "<script>"):
        assert text not in page
        assert escape(text, quote=False) in page


def test_no_cell_of_an_export_is_a_formula(evil: tuple[httpx2.Client, str]) -> None:
    client, _ = evil
    for sign in "=+-@":
        client.post(f"{V1}/tasks", json={"id": f"{sign}HYPERLINK(1)", "type": "formula"})
    lines = client.get("/admin/runs.csv", params={"type": "formula"}).text.splitlines()
    assert all(f"'{sign}HYPERLINK" in "\n".join(lines) for sign in "=+-@")
    assert len(json.loads(client.get("/admin/runs.json", params={"type": "formula"}).text)) == 4


# ----------------------------------------------------------------------------------------------- other sites, other hosts


def test_another_sites_page_changes_nothing(evil: tuple[httpx2.Client, str]) -> None:
    client, run = evil
    before = client.get(f"{V1}/executions").json()["items"]
    for head in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
    ):
        form = client.post(f"/admin/runs/{run}/exclude", data={"reason": "x"}, headers=head)
        api = client.post(f"{V1}/tasks", json={"id": "x"}, headers=head)
        assert (form.status_code, api.status_code) == (403, 403)
        for method, path in (("PUT", f"{V1}/policies/x/mode"), ("DELETE", f"{V1}/executions/{run}")):
            assert client.request(method, path, headers=head).status_code == 403
    assert client.get(f"{V1}/executions").json()["items"] == before
    assert "access-control-allow-origin" not in client.options(f"{V1}/tasks", headers={"Origin": "http://evil.example"}).headers


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "",
        "[::1].evil",
        "127.0.0.1:80.evil.example",
        "127.0.0.1:abc",
    ],
)
def test_no_name_on_the_internet_leads_here(evil: tuple[httpx2.Client, str], host: str) -> None:
    client, _ = evil
    assert client.get("/admin", headers={"Host": host}).status_code in (400, 421)
    assert client.get("/admin", headers={"Host": "localhost:1234"}).status_code == 200


# -------------------------------------------------------------------------------------------------------------------- paths


CLIMBS = (
    "../config/learning_loop.yaml", "memory/../config/learning_loop.yaml", "memory/../../../../etc/passwd", "/etc/passwd",
    "memory/..%2f..%2fconfig%2flearning_loop.yaml", "memory/%2e%2e/config/learning_loop.yaml", "memory/x\x00.md",
    "templates/successful-patterns/../../config/x.md", "config/x.md", "metrics/ledger.db", "memory/.hidden.md", "memory//x.md",
    "memory/x.md/", "memory/working-memory/evil.md/y.md", "MEMORY/x.md", "memory\\..\\x.md", "memory/" + "a" * 500 + ".md",
)  # fmt: skip


@pytest.mark.parametrize("path", CLIMBS)
def test_no_path_leads_out_of_the_notes(evil: tuple[httpx2.Client, str], path: str) -> None:
    client, _ = evil
    for tried in (quote(path), quote(quote(path)), path.replace("\x00", "%00")):
        for place in (f"{V1}/memory/notes", f"{V1}/memory/history", f"{V1}/reports", "/admin/memory/note", "/admin/reports"):
            answer = client.get(f"{place}/{tried}")
            assert answer.status_code in (404, 405, 409, 422), (place, tried, answer.text[:200])
            assert "root:" not in answer.text
            assert "mode: production" not in answer.text
        if "%25" in tried:  # what stands there then is a name like any other
            continue
        written = client.put(f"{V1}/memory/notes/{tried}", json={"content": "x", "digest": None})
        assert written.status_code in (404, 405, 409, 422), (tried, written.text)
    assert client.get(f"/admin/static/{quote(path, safe='')}").status_code == 404


def test_a_link_in_the_notes_is_no_way_out(evil: tuple[httpx2.Client, str], tmp_path: Path) -> None:
    client, _ = evil
    root = Path(client.get(f"{V1}/status").json()["workspace"])
    secret = tmp_path / "secret.md"
    secret.write_text("top secret", encoding="utf-8")
    (root / "memory" / "link.md").symlink_to(secret)
    (root / "memory" / "folder").symlink_to(tmp_path)
    for path in ("memory/link.md", "memory/folder/secret.md", "memory/folder/new.md"):
        assert "top secret" not in client.get(f"{V1}/memory/notes/{path}").text
        assert client.put(f"{V1}/memory/notes/{path}", json={"content": "x", "digest": None}).status_code in (404, 409)
    assert secret.read_text(encoding="utf-8") == "top secret"
    assert not (tmp_path / "new.md").exists()


# ------------------------------------------------------------------------------------------------------------------- rights


def _operations(client: httpx2.Client) -> list[tuple[str, str]]:
    document = client.get(f"{V1}/openapi.json").json()
    return [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]


def _needed(method: str, path: str) -> str | None:
    if path in ("/healthz", "/readyz"):
        return None
    if method == "GET":
        return "admin" if path.endswith(("/tokens", "/audit", "/backup")) else "read"
    if path == f"{V1}/tasks" or path.endswith(("/decisions", "/finish", "/feedback", "/reward")):
        return "record"
    return "admin" if "/tokens" in path or path.endswith("/expire") or method == "DELETE" else "steer"


def test_every_operation_takes_its_scope_and_no_other(guarded: tuple[Server, dict[str, str]]) -> None:
    server, tokens = guarded
    with server.client(tokens["admin"]) as client:
        operations = _operations(client)
    assert len(operations) > 60
    for method, path in operations:
        needed = _needed(method, path)
        where = path.replace("{path}", "memory/x.md").replace("{action}", "resolve" if "alerts" in path else "pin")
        where = where.replace("{execution_id}", "x").replace("{name}", "x").replace("{slug}", "x").replace("{point}", "x")
        where = where.replace("{decision_id}", "x")
        if where == f"{V1}/events":
            continue  # it does not end
        for scope in (None, "over", *SCOPES):
            token = tokens[scope] if scope else None
            with server.client(token) as client:
                status = client.request(method, where).status_code
            if needed is None:
                assert status == 200 or scope == "over"
            elif scope in (None, "over"):
                assert status in (401, 429), (method, path, scope, status)
            elif scope not in (needed, "admin"):
                assert status == 403, (method, path, scope, status)
            else:
                assert status not in (401, 403, 429), (method, path, scope, status)


def test_pages_ask_who_one_is_and_a_session_may_what_its_token_may(guarded: tuple[Server, dict[str, str]]) -> None:
    server, tokens = guarded
    for page in PAGES:
        with server.client() as client:
            assert client.get(f"/admin{page}").headers["location"].startswith("/admin/login")
    with server.client() as client:
        answer = client.post("/admin/login", data={"token": tokens["read"], "next": "https://evil.example/admin"})
        assert answer.headers["location"] == "/admin"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("/admin").status_code == 200
        assert client.post("/admin/experiments", data={"versions": "x"}).status_code == 403
        assert "Who changed what" not in client.get("/admin/settings").text
        client.post("/admin/logout")
        assert client.get("/admin").status_code == 303


@pytest.mark.parametrize("path", ["/admin/nope", "/admin/static/nope", f"/admin/login?next={'x' * 2_500}"])
def test_strangers_get_a_page_that_says_nothing_of_the_workspace(guarded: tuple[Server, dict[str, str]], path: str) -> None:
    server, _ = guarded
    with server.client() as client:
        answer = client.get(path)
        assert answer.status_code in (404, 422)
        assert "content-security-policy" in answer.headers
        assert str(server.root) not in answer.text
        assert client.put("/admin/login").status_code == 405
        assert client.get("/adminx").headers["content-type"] == "application/problem+json"


def test_wrong_tokens_are_slowed_down_and_keep_nobody_out(guarded: tuple[Server, dict[str, str]]) -> None:
    server, tokens = guarded
    with server.client() as client:
        tried = [client.post("/admin/login", data={"token": f"llt_00000000_{number}"}).status_code for number in range(15)]
        assert tried[-1] == 429
        assert client.post("/admin/login", data={"token": tokens["read"]}).status_code == 303


def test_a_revoked_token_is_over_within_a_second(guarded: tuple[Server, dict[str, str]]) -> None:
    server, tokens = guarded
    with server.client(tokens["admin"]) as admin:
        made = admin.post(f"{V1}/tokens", json={"name": "short", "scopes": ["read"]}).json()
        with server.client(made["token"]) as client:
            assert client.get(f"{V1}/status").status_code == 200
            admin.delete(f"{V1}/tokens/short")
            time.sleep(1.2)
            assert client.get(f"{V1}/status").status_code in (401, 429)
        said = admin.get(f"{V1}/audit").json()["items"]
        assert [item["action"] for item in said[:2]] == ["revoke token", "create token"]
        assert made["token"].split("_", 2)[2] not in json.dumps(said)
    assert made["token"].split("_", 2)[2].encode() not in b"".join(
        path.read_bytes() for path in (server.root / "metrics").glob("ledger.db*")
    )


def test_a_key_belongs_to_who_sent_it(guarded: tuple[Server, dict[str, str]]) -> None:
    server, tokens = guarded
    key = {"Idempotency-Key": "same"}
    with server.client(tokens["record"]) as one, server.client(tokens["admin"]) as other:
        first = one.post(f"{V1}/tasks", json={"id": "mine"}, headers=key).json()
        second = other.post(f"{V1}/tasks", json={"id": "mine"}, headers=key).json()
        assert first["execution_id"] != second["execution_id"]
        assert one.post(f"{V1}/tasks", json={"id": "mine"}, headers={"Idempotency-Key": "x" * 300}).status_code == 400


def test_no_token_is_kept_as_it_is(guarded: tuple[Server, dict[str, str]]) -> None:
    server, tokens = guarded
    with server.client(tokens["admin"]) as admin:
        given = {"name": "keyed", "scopes": ["read"]}
        assert admin.post(f"{V1}/tokens", json=given, headers={"Idempotency-Key": "t"}).status_code == 400
        text = admin.post(f"{V1}/tokens", json=given).json()["token"]
    kept = b"".join(path.read_bytes() for path in (server.root / "metrics").glob("ledger.db*"))
    assert text.encode() not in kept
    assert text.split("_", 2)[2].encode() not in kept


def test_whoever_listens_stops_with_their_token(guarded: tuple[Server, dict[str, str]]) -> None:
    server, tokens = guarded
    with server.client(tokens["admin"]) as admin:
        text = admin.post(f"{V1}/tokens", json={"name": "listener", "scopes": ["read"]}).json()["token"]
        with server.client(text) as client, client.stream("GET", f"{V1}/events") as events:
            lines = events.iter_lines()
            next(lines)
            admin.delete(f"{V1}/tokens/listener")
            time.sleep(1.2)
            for number in range(3):
                admin.post(f"{V1}/tasks", json={"id": f"n{number}"})
                time.sleep(0.6)
            told = [line for line in lines if line.startswith("data:")]  # it ends
    assert len(told) <= 2


def test_other_addresses_are_served_only_where_there_is_a_token(tmp_path: Path) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    with pytest.raises(AssertionError, match="make a token first"), serving(workspace.root, "--host", "0.0.0.0"):
        pass


# ------------------------------------------------------------------------------------------------------- too much, too slow


def test_what_is_too_large_is_refused(evil: tuple[httpx2.Client, str]) -> None:
    client, _ = evil
    large = client.post(f"{V1}/tasks", json={"id": "x", "description": "y" * 2_000_000})
    assert large.status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(64):
            yield b"x" * 65_536

    said = []
    with contextlib.suppress(httpx2.TransportError):  # it may be closed before all was sent
        said.append(client.post(f"{V1}/tasks", content=chunks()).status_code)
    assert said in ([413], [])
    deep = client.post(f"{V1}/tasks", content=b"[" * 200_000, headers={"Content-Type": "application/json"})
    assert deep.status_code in (400, 422)
    for body in (b'{"id": NaN}', b'{"id": "\\ud800"}', b"\xff", b'{"id": "x", "parameters": {"a": 1e999}}'):
        answer = client.post(f"{V1}/tasks", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), body
    assert client.get(f"{V1}/executions", params={"search": "x" * 10_000}).status_code == 422
    assert client.get("/admin/runs", params={"search": "x" * 10_000}).status_code == 422
    assert client.get(f"{V1}/executions", params={"search": "a " * 200}).status_code == 200
    for moment in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        assert client.get(f"{V1}/executions", params={"since": moment}).status_code == 422
        assert client.get("/admin/runs.json", params={"since": moment}).status_code == 409
    assert client.get("/admin/runs.csv", params={"status": "bogus"}).status_code == 409
    assert client.post(f"{V1}/tasks", json={"id": "x"}, headers={"Origin": "http://["}).status_code == 403
    other = client.post(f"{V1}/tasks", json={"id": "rated"}).json()["execution_id"]
    for value in ("1e999", "NaN"):
        assert client.post(f"/admin/runs/{other}/feedback", data={"metric": "m", "value": value}).status_code == 409
    assert client.post("/admin/experiments", data={"versions": "v " * 50}).status_code == 409
    run = client.post(f"{V1}/tasks", json={"id": "selfish"}).json()["execution_id"]
    ended = client.post(f"{V1}/executions/{run}/finish", json={"success": True, "measures": {"self": 1}})
    assert ended.status_code == 200
    assert client.get("/healthz").status_code == 200


def test_a_head_without_an_end_is_not_read_for_ever(evil: tuple[httpx2.Client, str]) -> None:
    client, _ = evil
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 20_000_000:
                connection.sendall(b"x: " + b"y" * 10_000 + b"\r\n")
                sent += 10_000
    assert sent < 20_000_000


@pytest.mark.parametrize(
    "begins",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
    ],
)
def test_slow_clients_are_not_waited_for(tmp_path: Path, begins: bytes) -> None:
    workspace, _ = Workspace.init(tmp_path / "w")
    with serving(workspace.root, environ={"LEARNING_LOOP_SERVE_BODY_S": "1"}) as server:
        host, port = server.address.removeprefix("http://").split(":")
        slow = [socket.create_connection((host, int(port)), timeout=20) for _ in range(30)]
        for one in slow:
            one.sendall(begins)
        with server.client() as client:
            assert client.post(f"{V1}/tasks", json={"id": "quick"}).status_code == 201
        for one in slow:
            received = b""
            while part := one.recv(65_536):  # ends when the server closes it
                received += part
            assert received == b"" or b"408" in received.splitlines()[0]
            one.close()
