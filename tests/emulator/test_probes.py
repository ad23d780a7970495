"""What a worker answers over HTTP: whether it is alive, whether the installation can work, and numbers."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import text

from core.access.roles import LOCAL
from core.api.server import ApiServer
from core.bridge import Bridge
from core.errors import SettingsError
from core.sandbox.people import PROJECT_ID
from core.settings import Settings, read
from core.syncs import listing, recurring, runs
from core.worker import service
from data import workers
from data.engine import write_session
from tests.stage.api import configured, served
from tests.stage.home import Home, connect
from tests.stage.processes import free_port
from tests.stage.sandbox import POWER, SPENDERS, Sandbox, wait_until

TOKEN = "a-token-of-some-length"


def sign_on(bridge: Bridge, **ago: int) -> None:
    now = bridge.clock.now() - timedelta(**ago)
    workers.sign_on(bridge.engine, "a worker", started_at=now, now=now)


def samples(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """Read the metrics: by name and label values, without the times that counters were made at."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name.removeprefix("cohort_bridge_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if not sample.name.endswith(("_created", "_bucket"))
    }


@pytest.mark.sqlite_file
def test_a_process_is_alive_whatever_else_is_wrong(bridge: Bridge):
    with served(bridge) as client:
        bridge.engine.dispose()
        bridge.settings.home.joinpath("cohort_bridge.db").write_bytes(b"no database")

        assert client.get("/healthz").json() == {"status": "ok"}
        ready = client.get("/readyz")

    assert ready.status_code == 503
    assert ready.json()["troubles"][0].startswith("The database")


def test_an_installation_is_ready_with_a_worker_and_a_database_of_its_version(bridge: Bridge):
    with served(bridge) as client:
        assert (client.get("/readyz").status_code, client.get("/readyz").json()) == (
            503,
            {"status": "not ready", "troubles": ["No worker's heartbeat was seen in the last minute."]},
        )
        sign_on(bridge)
        assert (client.get("/readyz").status_code, client.get("/readyz").json()) == (
            200,
            {"status": "ready", "troubles": []},
        )
        sign_on(bridge, seconds=61)
        assert client.get("/readyz").status_code == 503
        sign_on(bridge)
        with write_session(bridge.engine) as session:
            session.connection().execute(text("UPDATE alembic_version SET version_num = '0001'"))
        assert "another version" in client.get("/readyz").json()["troubles"][0]


def test_a_clock_that_is_off_is_told_of_and_keeps_nothing_from_being_ready(bridge: Bridge):
    now = bridge.clock.now()
    workers.sign_on(bridge.engine, "near:1:ab", started_at=now, now=now, clock_ahead_s=59)
    workers.sign_on(bridge.engine, "far:2:cd", started_at=now, now=now, clock_ahead_s=900)
    with served(bridge) as client:
        answer = client.get("/readyz")

    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert [warning.partition(".")[0] for warning in answer.json()["warnings"]] == [
        "The clock of far is 15 minutes ahead of the database server's"
    ]


def test_runs_groups_budget_and_worker_are_counted(bridge: Bridge, sandbox: Sandbox):
    connect(bridge, sandbox)
    sync = recurring.add_sync(bridge, LOCAL, POWER)
    sign_on(bridge, seconds=5)
    with served(bridge) as client:
        before = samples(client)
        service.once(bridge)
        after = samples(client)
        recurring.add_sync(bridge, LOCAL, SPENDERS)
        sandbox.fault("unauthorized", target="apptimize")
        service.once(bridge)
        sandbox.clear_faults()
        failed, again = samples(client), samples(client)
        (refused,) = [run for run in runs.list_runs(bridge, LOCAL) if run.status == "failed"]

    number, members = str(sync.id), float(len(sandbox.answer(POWER).group))
    assert ("group_age_seconds", number) not in before
    assert (before["runs_unfinished", "queued"], before["group_interval_seconds", number]) == (0, 900)
    assert after["runs_total", "none", "false", "succeeded"] == 1
    assert after["run_duration_seconds_count", "succeeded"] == 1
    assert after["members_written_total", "full"] == members
    assert (after["group_late", number], after["group_in_doubt", number]) == (0, 0)
    assert 0 <= after["group_age_seconds", number] < 60
    project = str(PROJECT_ID)
    assert after["queries_limit", project] == 60
    assert after["queries_used", project] + after["queries_left", project] == 60
    assert 5 <= after["worker_heartbeat_age_seconds",] < 60
    assert (failed["runs_total", refused.error_code or "", "false", "failed"], failed["syncs", "paused"]) == (1, 1)
    assert (again["runs_total", "none", "false", "succeeded"], failed["members_written_total", "full"]) == (1, members)


def test_what_ended_before_the_worker_began_is_not_counted_and_what_runs_meanwhile_once(
    bridge: Bridge, sandbox: Sandbox
):
    connect(bridge, sandbox)
    recurring.add_sync(bridge, LOCAL, POWER)
    service.once(bridge)
    with served(bridge) as client, served(bridge) as asked_late:
        assert not [key for key in samples(client) if key[0] == "runs_total"]
        recurring.add_sync(bridge, LOCAL, SPENDERS)
        service.once(bridge)
        for _ in range(2):
            assert samples(client)["runs_total", "none", "false", "succeeded"] == 1
        assert samples(asked_late)["runs_total", "none", "false", "succeeded"] == 1


def test_names_of_groups_are_told_only_where_that_is_asked_for(bridge: Bridge, sandbox: Sandbox):
    connect(bridge, sandbox)
    sync = recurring.add_sync(bridge, LOCAL, POWER)
    service.once(bridge)
    ids = [*sandbox.answer(POWER).group, *sandbox.answer(POWER).group.values()]
    with served(bridge) as client, served(bridge, metrics_names=True) as named:
        plain, full = client.get("/metrics").text, named.get("/metrics").text
    group = listing.get_sync(bridge, LOCAL, sync.id or 0).group.name

    assert group not in plain
    assert f'group="{group}"' in full
    assert not [known for known in ids if f'"{known}"' in full]


def test_with_a_token_numbers_and_reasons_are_for_who_has_it(bridge: Bridge):
    right = {"Authorization": f"Bearer {TOKEN}"}
    with served(bridge, metrics_token=SecretStr(TOKEN)) as client:
        for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": f"Basic {TOKEN}"}, {"X-Token": TOKEN}):
            refused = client.get("/metrics", headers=headers)
            assert (refused.status_code, TOKEN in refused.text, refused.headers["WWW-Authenticate"]) == (
                401,
                False,
                "Bearer",
            )
            assert client.get("/readyz", headers=headers).json() == {"status": "not ready"}
        assert client.get("/healthz").status_code == 200
        assert client.get("/metrics", headers=right).status_code == 200
        assert client.get("/readyz", headers=right).json()["troubles"]


def test_a_page_of_somebody_else_that_leads_here_is_not_answered(bridge: Bridge):
    with served(bridge) as client:
        assert client.get("/metrics", headers={"Host": "evil.example"}).status_code == 400
        assert client.get("/metrics", headers={"Host": "localhost:1"}).status_code == 200
        assert client.post("/metrics").status_code == 405


def test_a_port_in_use_is_said_once_and_taken_when_it_is_free(bridge: Bridge, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="core.api")
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        server = ApiServer(configured(bridge, metrics_address=f"127.0.0.1:{port}"))
        assert (server.open(), server.open()) == (False, False)
    try:
        assert server.open()
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    finally:
        server.close()
    assert [record.message.split()[0:2] for record in caplog.records] == [["metrics", "not"], ["metrics", "served"]]


def wrong_settings() -> Iterator[tuple[str, dict[str, str]]]:
    yield "METRICS_ADDRESS cannot be used: it is neither off nor an address", {"ADDRESS": "8502"}
    yield "METRICS_ADDRESS cannot be used", {"ADDRESS": "127.0.0.1:70000"}
    yield "METRICS_ADDRESS cannot be used", {"ADDRESS": "http://127.0.0.1:8502"}
    yield "METRICS_TOKEN cannot be used: it is needed", {"ADDRESS": "0.0.0.0:8502"}
    yield "METRICS_TOKEN cannot be used: it is needed", {"ADDRESS": "[::]:8502", "TOKEN": " "}
    yield "METRICS_TOKEN cannot be used: it is not 16", {"ADDRESS": "0.0.0.0:8502", "TOKEN": "short"}
    yield "METRICS_TOKEN cannot be used: it is not 16", {"TOKEN": "with blanks in its middle"}


@pytest.mark.parametrize(("said", "values"), list(wrong_settings()))
def test_settings_that_cannot_be_used_are_named(said: str, values: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    for name, value in values.items():
        monkeypatch.setenv(f"COHORT_BRIDGE_METRICS_{name}", value)

    with pytest.raises(SettingsError) as refused:
        read()

    assert said in refused.value.message


@pytest.mark.parametrize(
    ("address", "at"),
    [
        ("", ("127.0.0.1", 8502)),
        ("off", None),
        ("OFF", None),
        ("[::1]:9000", ("::1", 9000)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_addresses_are_taken_as_they_are_written(
    address: str, at: tuple[str, int] | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COHORT_BRIDGE_METRICS_ADDRESS", address)
    assert Settings(_env_file=None).metrics_at == at


def test_a_worker_serves_as_long_as_it_works(bridge: Bridge):
    port = free_port()
    home = Home(bridge.settings.home, env={"COHORT_BRIDGE_METRICS_ADDRESS": f"127.0.0.1:{port}"})
    process = home.begin("worker")

    def status() -> int | None:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code
        except httpx.HTTPError:
            return None

    wait_until(lambda: status() == 200)
    process.terminate()
    done = home.finish(process, within_s=10)

    assert (done.code, status()) == (0, None)
