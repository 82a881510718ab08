"""A server on this machine that speaks OpenAI's protocol and says what it was told to."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Said:
    """One answer: a text, a refusal, or a status with how long it takes, or what it waits for; and what of it is counted."""

    text: str = ""
    status: int = 200
    refusal: str | None = None
    after_s: float = 0.0
    until: threading.Event | None = None
    tokens: tuple[int, int] = (1_000, 100)


@dataclass
class Server:
    """What is to be said, the last of it for ever, and what was asked."""

    url: str
    script: list[Said] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def say(self, *answers: Said | dict[str, Any] | str) -> None:
        def said(one: Any) -> Said:
            return one if isinstance(one, Said) else Said(one if isinstance(one, str) else json.dumps(one))

        self.script[:] = [said(one) for one in answers]


@contextmanager
def serving() -> Iterator[Server]:
    """Serve on a free port of this machine until the end of the block."""
    found = Server("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.asked.append(body)
            found.keys.append(self.headers.get("Authorization", ""))
            answer = found.script.pop(0) if len(found.script) > 1 else found.script[0]
            time.sleep(answer.after_s)
            if answer.until is not None:
                answer.until.wait(30)
            message = {"role": "assistant", "content": None if answer.refusal else answer.text, "refusal": answer.refusal}
            reply = {
                "id": "x",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {
                    "prompt_tokens": answer.tokens[0],
                    "completion_tokens": answer.tokens[1],
                    "total_tokens": sum(answer.tokens),
                },
            }
            content = json.dumps(reply if answer.status == 200 else {"error": {"message": "no", "type": "x"}}).encode()
            try:
                self.send_response(answer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                pass  # who asked did not wait

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
