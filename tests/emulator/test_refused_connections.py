"""Attempts to connect that fail stand in the audit log: who, what, where to, why; once in five minutes, no secret."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace

import pytest
from pydantic import SecretStr

from core.access.audit_log import AuditFilter, list_audit
from core.access.roles import LOCAL, Actor, Role
from core.bridge import Bridge
from core.connections import destinations, lookup, mixpanel_connection
from core.connections.receiver_form import ReceiverForm
from core.errors import CohortBridgeError
from core.sandbox import people
from tests.stage.clock import FakeClock
from tests.stage.home import PRACTICE, Home
from tests.stage.sandbox import Sandbox

SECRET = "a-hidden-secret-9Xq"


@pytest.fixture
def bridge(sandbox: Sandbox, home: Home, fake_clock: FakeClock) -> Generator[Bridge]:
    with home.bridge(clock=fake_clock.clock, mixpanel_url=sandbox.url) as opened:
        yield opened


def refusals(bridge: Bridge) -> list[tuple[str, str, str]]:
    entries = list_audit(bridge, LOCAL, AuditFilter(outcome="refused"))
    return [(entry.who, entry.action, entry.subject) for entry in reversed(entries)]


def refuse(attempt: Callable[[], object]) -> None:
    with pytest.raises(CohortBridgeError):
        attempt()


def test_each_attempt_that_fails_has_its_line(sandbox: Sandbox, bridge: Bridge):
    secret, wrong = SecretStr(SECRET), replace(PRACTICE, secret=SecretStr(SECRET), name="second")
    project, endpoint = (connection.id or 0 for connection in lookup.list_connections(bridge, LOCAL))
    connect_endpoint, change_address = destinations.connect_endpoint, destinations.change_address
    address = f"http://someone:{SECRET}@example.com/groups?token={SECRET}"
    taken = destinations.connect_csv(bridge, LOCAL, folder=str(bridge.settings.home / "csv"))

    for attempt in (
        lambda: mixpanel_connection.connect_mixpanel(bridge, LOCAL, wrong),
        lambda: mixpanel_connection.connect_mixpanel(bridge, LOCAL, replace(wrong, project_id=SECRET)),
        lambda: mixpanel_connection.replace_secret(bridge, LOCAL, project, username="x", secret=secret),
        lambda: mixpanel_connection.change_project(bridge, LOCAL, project, replace(wrong, region="mars")),
        lambda: mixpanel_connection.set_project_token(bridge, LOCAL, project, SecretStr(f"{SECRET}\u200b")),
        lambda: connect_endpoint(bridge, LOCAL, url=sandbox.endpoint, token=secret, name="second"),
        lambda: connect_endpoint(bridge, LOCAL, url=address, token=secret),
        lambda: connect_endpoint(bridge, LOCAL, url=SECRET, token=secret),
        lambda: destinations.replace_token(bridge, LOCAL, endpoint, secret),
        lambda: change_address(bridge, LOCAL, endpoint, ReceiverForm(SecretStr("https://10.0.0.8/x?y"), secret=secret)),
        lambda: destinations.change_folder(bridge, LOCAL, taken.id or 0, folder="/dev/null/x"),
        lambda: destinations.connect_csv(bridge, LOCAL, folder=taken.folder, name="other"),
    ):
        refuse(attempt)

    lines = refusals(bridge)
    assert [(who, action) for who, action, _ in lines] == [
        ("local", action)
        for action in (
            "connect_mixpanel", "connect_mixpanel", "replace_secret", "change_project", "set_project_token",
            "connect_endpoint", "connect_endpoint", "connect_endpoint", "replace_token", "change_address",
            "change_folder", "connect_csv",
        )
    ]  # fmt: skip
    told = [subject for _, _, subject in lines]
    assert told[0].startswith(
        f"Mixpanel connection second to project {people.PROJECT_ID}, us: Mixpanel does not accept"
    )
    assert told[1].startswith("Mixpanel connection second to no project: Project id: ")
    assert told[3].startswith(f"Mixpanel connection default to project {people.PROJECT_ID}: Region: ")
    assert told[5].startswith(f"Apptimize destination second at {sandbox.endpoint}: Token: ")
    assert told[6].startswith("Apptimize destination default at http://example.com/groups: Endpoint: ")
    assert told[7].startswith("Apptimize destination default at no address: Endpoint: ")
    assert told[9] == "Apptimize destination default at https://10.0.0.8/x: Endpoint: this leads to a private address."
    assert told[10].startswith("CSV destination csv in /dev/null/x: Folder: ")
    assert told[11].startswith(f"CSV destination other in {taken.folder}: Folder: ")
    assert SECRET not in "".join(told)


def test_the_same_refusal_of_the_same_person_is_noted_once_in_five_minutes(
    sandbox: Sandbox, bridge: Bridge, fake_clock: FakeClock
):
    def attempt(name: str = "second") -> None:
        token = SecretStr(SECRET)
        refuse(lambda: destinations.connect_endpoint(bridge, LOCAL, url=sandbox.endpoint, token=token, name=name))

    for _ in range(5):
        attempt()
    attempt("third")
    fake_clock.shift_s += 6 * 60
    attempt()

    named = [subject.split()[2] for _, _, subject in refusals(bridge)]
    assert named == ["second", "third", "second"]


def test_who_lacks_the_role_has_a_line_as_before(sandbox: Sandbox, bridge: Bridge):
    analyst = Actor("someone@example.com", Role.ANALYST)

    refuse(lambda: destinations.connect_csv(bridge, analyst, folder="/x"))

    assert [(who, action) for who, action, _ in refusals(bridge)] == [("someone@example.com", "connect_csv")]


def test_a_refused_command_has_its_line(sandbox: Sandbox, home: Home, bridge: Bridge):
    done = home.run(
        "connect", "apptimize", "--endpoint", sandbox.endpoint, env={"COHORT_BRIDGE_APPTIMIZE_TOKEN": SECRET}
    )

    assert done.code == 1
    assert [(who, action) for who, action, _ in refusals(bridge)] == [("local", "connect_endpoint")]
