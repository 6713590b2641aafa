"""tools/audit.py, with the real pip-audit: against a service that this test runs, and against the real one."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "audit.py"
CANARY = {"id": "GHSA-462w-v97r-4m45", "aliases": ["CVE-2019-10906"], "summary": "a sandbox escape", "affected": []}

pytestmark = pytest.mark.releases


def audit(*arguments: str, tmp_path: Path) -> tuple[int, str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, SCRIPT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.fixture
def service() -> Iterator[Callable[[dict[str, list[dict]]], str]]:
    """Runs a service with the interface of OSV, that knows the given weaknesses by package. Returns its address."""
    known: dict[str, list[dict]] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            content = json.dumps({"vulns": known.get(query["package"]["name"], [])}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing is written."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()

        def knows(weaknesses: dict[str, list[dict]]) -> str:
            known.update(weaknesses)
            return f"http://127.0.0.1:{server.server_address[1]}/v1/query"

        yield knows
        server.shutdown()


def test_what_is_known_is_told(service, tmp_path):
    weak = {"id": "PYSEC-1", "aliases": ["CVE-1"], "summary": "one", "affected": []}
    address = service({"jinja2": [], "numpy": [weak]})
    code, out = audit("--service", "osv", "--osv-url", address, tmp_path=tmp_path)
    assert (code, out.startswith("skipped: no advisory service was reached; osv does not know CVE-2019-10906")) == (
        3,
        True,
    )
    service({"jinja2": [CANARY]})
    code, out = audit("--service", "osv", "--osv-url", address, tmp_path=tmp_path)
    assert code == 1
    assert "numpy: PYSEC-1 CVE-1\n" in out
    assert " packages were asked for, " in out


def test_a_service_that_is_not_there_is_no_pass(tmp_path):
    code, out = audit("--service", "osv", "--osv-url", "http://127.0.0.1:9/", tmp_path=tmp_path)
    assert (code, out.splitlines()[0].partition(";")[0]) == (3, "skipped: no advisory service was reached")


def test_no_weakness_is_known_of_what_is_installed(tmp_path):
    code, out = audit(tmp_path=tmp_path)
    if code == 3:
        pytest.skip(out.strip())
    assert code == 0, out
