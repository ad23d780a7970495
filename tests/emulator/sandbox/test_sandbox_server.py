"""The server itself: restarts, ports, signals, and who may talk to it."""

import signal
import socket
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.sandbox import people
from core.sandbox.server import serve
from core.sandbox.store import SandboxError

ADMIN = (people.ADMIN_USERNAME, people.ADMIN_SECRET)
SERVE = "import sys, pathlib; from core.sandbox.server import serve; " + (
    "serve(port=int(sys.argv[1]), home=pathlib.Path(sys.argv[2]))"
)


def test_everything_survives_a_restart(start: Any):
    with start() as client:
        client.message("members", ["i_1"])
        client.message("members", ["i_2"], page=1, total=2, session="s-2")
        client.update({"$distinct_id": "ann", "$set": {"$apptimize_user_id": "i_\ud800"}})
        client.update({"$distinct_id": "bob", "$set": {"$apptimize_user_id": "i_bob"}})
        client.update({"$distinct_id": "user-10005", "$delete": ""})
        client.track("Opened", distinct_id="i_bob")
        client.fault("slow", seconds=1, target="apptimize", after=5)
        client.settings(hourly_limit=7, id_merge="original")
        client.at(3600)
        client.cohorts()
        token = client.token

    with start() as client:
        client.token = token
        assert client.members() == {"i_1"}
        client.message("members", ["i_3"], page=2, total=2, session="s-2")
        assert client.members() == {"i_2", "i_3"}
        assert client.person("i_bob")["distinct_id"] == "bob"
        assert [event["event"] for event in client.person("bob")["events"]] == ["Opened"]
        assert client.person("user-10005")["properties"] is None
        assert client.get("/sandbox/api/faults").json()["faults"]["slow"]["after"] == 5
        assert client.get("/sandbox/api/clock").json()["shift_seconds"] == 3600
        project = client.get("/sandbox/api/project").json()
        assert (project["hourly_limit"], project["queries_spent"]) == (7, 1)


def test_what_an_earlier_version_kept_is_in_the_usual_workspace(start: Any, tmp_path: Path):
    with start() as client:
        client.message("members", ["i_1"])
        client.message("members", ["i_2"], session="s-2", page=1, total=2)
        token = client.token
    with closing(sqlite3.connect(tmp_path / "sandbox.db")) as kept:
        for table in ("token", "audience", "delivery"):
            columns = [name for _, name, *_ in kept.execute(f"PRAGMA table_info({table})") if name != "workspace"]
            kept.execute(f"CREATE TABLE earlier AS SELECT {', '.join(columns)} FROM {table}")
            kept.execute(f"DROP TABLE {table}")
            kept.execute(f"ALTER TABLE earlier RENAME TO {table}")
        kept.commit()

    with start() as client:
        client.token = token
        assert client.members() == {"i_1"}
        client.message("members", ["i_3"], session="s-2", page=2, total=2)
        assert client.members() == {"i_2", "i_3"}


def test_the_token_itself_is_stored_nowhere(start: Any, tmp_path: Path):
    with start() as client:
        client.message("members", [])
        token = client.token

    assert all(token.encode() not in file.read_bytes() for file in tmp_path.glob("sandbox.db*"))


def test_a_busy_port_is_one_clear_sentence(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(SandboxError, match=f"^The sandbox cannot use port {port} .*in use.$"):
            serve(port=port, home=tmp_path)


def test_a_home_that_cannot_be_written_is_one_clear_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("")

    with pytest.raises(SandboxError, match=r"cannot keep its state in .*sandbox.db"):
        serve(port=0, home=tmp_path / "file")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_soon_and_cleanly_even_in_the_middle_of_an_answer(ending: int, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", SERVE, str(port), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport(retries=8)) as client:
            client.put("/sandbox/api/faults", json={"slow": {"seconds": 60, "target": "app"}})
            with ThreadPoolExecutor(1) as pool:
                answer = pool.submit(httpx.get, f"http://127.0.0.1:{port}/api/app/me", auth=ADMIN, timeout=20)
                while not client.get("/sandbox/api/requests").json()["requests"]:
                    pass
                process.send_signal(ending)
                output, errors = process.communicate(timeout=5)
                assert isinstance(answer.exception(), httpx.ReadError)

    assert (process.returncode, output, errors) == (0, b"", b"")


def test_only_loopback_names_are_answered(client: Any):
    for host, status in (("evil.example", 400), ("localhost:8600", 200), ("127.0.0.1", 200), ("[::1]:8600", 200)):
        assert client.get("/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("path", ["/sandbox/api/tokens", "/apptimize/tokens", "/engage", "/sandbox/faults"])
def test_another_sites_page_changes_nothing(client: Any, path: str):
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        assert client.post(path, json={}, headers={"Origin": origin}).status_code == 403


def test_the_sandboxs_own_page_may(client: Any):
    origin = str(client.base_url).rstrip("/")

    assert client.post("/sandbox/api/tokens", json={"name": "x"}, headers={"Origin": origin}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "clock", {"shift_seconds": "soon"}),
        ("PUT", "clock", {}),
        ("PUT", "project", {"colour": 1}),
        ("PUT", "project", {"hourly_limit": 0}),
        ("PUT", "project", {"id_merge": "other"}),
        ("PUT", "faults", []),
        ("GET", "cohorts/1/profiles", None),
        ("GET", "groups/1/1", None),
        ("GET", "people/nobody-at-all", None),
    ],
)
def test_the_control_api_says_what_is_wrong(client: Any, method: str, path: str, body: Any):
    answer = client.request(method, f"/sandbox/api/{path}", json=body)

    assert answer.status_code in (400, 404)
    assert answer.json()["error"]


def test_the_clock_can_be_set_to_a_moment(client: Any):
    for now in (1795500000, "2026-11-24T06:00:00+00:00"):
        assert abs(client.put("/sandbox/api/clock", json={"now": now}).json()["now"] - 1795500000) < 5
