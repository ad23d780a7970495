"""Declared state against the sandbox: what a file says is made so, whole or not at all, and told in the audit log."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlmodel import select

from core.access import audit_log, people
from core.access.roles import LOCAL
from core.alerts import channels
from core.alerts.channels import ChannelForm
from core.bridge import Bridge
from core.connections import destinations
from core.declared import applying, exporting
from core.declared.entries import FileRefused
from core.sandbox import people as sandbox_people
from core.syncs import listing, recurring
from core.worker import service
from data.alert_models import AlertChannel
from data.connections import list_connections
from data.engine import read_session
from data.models import AuditEntry, Group, Person, SyncState
from tests.stage.clock import FakeClock
from tests.stage.home import Home, copy_home, export, group_row
from tests.stage.processes import ROOT
from tests.stage.sandbox import COMPANIES, NEWSLETTER, POWER, TRIAL, WEB, Sandbox
from tests.stage.seeds import some
from tests.stage.terminal import Terminal

pytestmark = some(11)

MIXPANEL_SECRET, TOKEN = "COHORT_BRIDGE_MIXPANEL_DEFAULT_SECRET", "COHORT_BRIDGE_DESTINATION_DEFAULT_SECRET"
OPEN = {"allow_private_hosts": True}


@pytest.fixture
def secrets(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets of both connections, as a file names them."""
    monkeypatch.setenv(MIXPANEL_SECRET, sandbox_people.ADMIN_SECRET)
    monkeypatch.setenv(TOKEN, sandbox.token)


@pytest.fixture
def other_home(migrated_template: Path, tmp_path: Path) -> Home:
    """A home in which nothing is set up."""
    (tmp_path / "other").mkdir()
    return copy_home(migrated_template, tmp_path / "other" / "home")


def write(bridge: Bridge, folder: Path, *changes: tuple[str, str]) -> Path:
    """Write a home's file, with changes of its text."""
    text = exporting.export_config(bridge, LOCAL, practice=True)
    for old, new in changes:
        assert old in text, text
        text = text.replace(old, new)
    path = folder / "bridge.toml"
    path.write_text(text, encoding="utf-8")
    return path


def told(refused: pytest.ExceptionInfo[FileRefused], path: Path) -> dict[str, str]:
    """Return what is told of each mistake, by the text of the line that it is in."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {lines[mistake.line - 1]: mistake.message for mistake in refused.value.mistakes}


def lines_of(bridge: Bridge, after: int = 0) -> list[tuple[str, str, str]]:
    """Return who did what with which outcome, by the audit log's lines after a number."""
    with read_session(bridge.engine) as session:
        entries = session.exec(select(AuditEntry).where(AuditEntry.number > after).order_by("number")).all()
    assert audit_log.verify_audit(bridge, LOCAL).ok
    return [(entry.who, entry.action, entry.outcome) for entry in entries]


def state(bridge: Bridge) -> str:
    """Return what is set up, without what is told of it: a cohort's name may not be known yet."""
    return re.sub(r"(?m)^#.*\n", "", exporting.export_config(bridge, LOCAL, practice=True))


# --- from one home to another --------------------------------------------------------------------------------------


def test_a_home_applied_to_an_empty_one_gives_the_same_groups(
    sandbox: Sandbox, home: Home, other_home: Home, secrets: None, tmp_path: Path
):
    cohorts = (POWER, WEB, TRIAL, NEWSLETTER)
    with home.bridge(mixpanel_url=sandbox.url) as bridge:
        people.add_person(bridge, LOCAL, "admin@example.com", "admin")
        for number, cohort in enumerate(cohorts):
            group = "A name of its own" if cohort == WEB else None
            recurring.add_sync(bridge, LOCAL, cohort, every_minutes=60, tags=["a", str(number)], group=group)
        path, before = write(bridge, tmp_path), state(bridge)

    with other_home.bridge(mixpanel_url=sandbox.url, **OPEN) as bridge:
        outcome = applying.apply_config(bridge, LOCAL, path)
        service.once(bridge)

        assert [(change.action, change.kind) for change in outcome.plan.changes] == [
            ("add", "mixpanel"),
            ("add", "destination"),
            ("add", "person"),
            *[("add", "sync")] * 4,
        ]
        assert state(bridge) == before
        assert applying.plan_config(bridge, LOCAL, path, prune=True).plan.changes == []
        assert [action for _, action, _ in lines_of(bridge)][:8] == [
            "add_person",
            "connect_mixpanel",
            "connect_endpoint",
            *["add_sync"] * 4,
            "apply_config",
        ]
    for cohort in cohorts:
        assert sandbox.group(cohort) == sandbox.answer(cohort).group
    assert sandbox.group_name(WEB) == "A name of its own"


# --- commands ------------------------------------------------------------------------------------------------------


def test_plan_ends_with_2_when_something_would_change(
    sandbox: Sandbox, home: Home, secrets: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with home.bridge() as bridge:
        sync = recurring.add_sync(bridge, LOCAL, POWER, tags=["東京"])
        recurring.pause_sync(bridge, LOCAL, sync.id)
    monkeypatch.setenv("COHORT_BRIDGE_MIXPANEL_URL", sandbox.url)
    terminal, path = Terminal(monkeypatch, home, "utf-8"), tmp_path / "bridge.toml"
    code, out, err = terminal.run("config", "export", "--practice")
    path.write_bytes(out)

    assert (code, err, terminal.run("config", "plan", str(path))) == (0, "", (0, b"Nothing would be changed.\n", ""))
    added = f"\n[[syncs]]\ncohort_id = {WEB}\nmax_shrink = 20\n"
    path.write_text(
        out.decode().replace("every_minutes = 15", "every_minutes = 60").replace("paused", "active") + added
    )
    code, shown, err = terminal.run("config", "plan", str(path))

    assert (code, err) == (2, "")
    assert shown.decode().splitlines() == [
        f"~ sync cohort {POWER} to default",
        "    every_minutes: 15 → 60",
        "    state: paused → active",
        "    It is paused: Paused by local.",
        f"+ sync cohort {WEB} to default",
        "    mixpanel: default",
        "    every_minutes: 15",
        "    max_shrink: 20",
        "    state: active",
        "Would be: 1 added, 1 changed, 0 removed.",
    ]
    code, planned, _ = terminal.run("config", "plan", str(path), "--json")
    document = json.loads(planned)
    assert (code, document["applied"], document["mistakes"], document["error"]) == (2, False, [], None)
    assert document.keys() == {
        "file", "sha256", "applied", "changes", "not_in_file", "notes", "mistakes", "error",
    }  # fmt: skip
    assert document["changes"][0].keys() == {"action", "kind", "name", "line", "fields", "notes"}
    assert document["changes"][0]["fields"]["every_minutes"] == {"before": 15, "after": 60}
    assert document["changes"][1]["line"] == len(path.read_text().splitlines()) - 2
    code, applied, _ = terminal.run("config", "apply", str(path), "--json")
    assert (code, json.loads(applied)) == (0, document | {"applied": True})
    assert terminal.run("config", "plan", str(path), "--prune")[0] == 0


def test_a_file_that_is_wrong_is_refused_whole_with_every_line(
    sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with home.bridge() as bridge:
        people.add_person(bridge, LOCAL, "admin@example.com", "admin")
        path = write(bridge, tmp_path, ('role = "admin"', 'role = "viewer"'), ('"default"\nkind', '"elsewhere"\nkind'))
        before = state(bridge)
    with path.open("a") as file:
        file.write(f'\n[[syncs]]\ncohort_id = {POWER}\ndestination = "nowhere"\n')
    terminal = Terminal(monkeypatch, home)

    ends = [terminal.run("config", command, str(path), "--json") for command in ("plan", "apply")]

    lines = path.read_text().splitlines()
    for code, out, err in ends:
        assert code == 1
        found = json.loads(out)["mistakes"]
        assert [(lines[each["line"] - 1], each["field"]) for each in found] == [
            (f'secret = {{ env = "{TOKEN}" }}', "destinations.secret"),
            ('role = "viewer"', "people.role"),
            ('destination = "nowhere"', "syncs.destination"),
        ]
        assert err.splitlines() == [
            *(f"bridge.toml, line {each['line']}: {each['field']}: {each['message']}" for each in found),
            "The file has 3 mistakes. Nothing was changed. Correct the file and try again.",
        ]
    with home.bridge() as bridge:
        assert state(bridge) == before
        assert lines_of(bridge)[-1] == ("local", "apply_config", "refused")


def test_a_setting_that_is_wrong_is_no_change(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    terminal = Terminal(monkeypatch, home)

    ends = [terminal.run("config", *rest) for rest in (("plan", str(tmp_path)), ("plan", "no.toml"), ("apply", "no"))]
    no_file = terminal.run("config", "plan")

    assert [code for code, _, _ in ends] == [1, 1, 1]
    assert (no_file[0], no_file[1]) == (2, b"")


# --- what vendors, and other rows, say of a file -------------------------------------------------------------------


def test_cohorts_and_the_budget_are_looked_up(
    sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    syncs = "".join(f"\n[[syncs]]\ncohort_id = {cohort}\nevery_minutes = 60\n" for cohort in (404, COMPANIES, POWER))
    with home.bridge() as bridge:
        path = write(bridge, tmp_path)
        path.write_text(path.read_text() + syncs)
        with pytest.raises(FileRefused) as unknown:
            applying.apply_config(bridge, LOCAL, path)
        assert list(told(unknown, path)) == ["cohort_id = 404", f"cohort_id = {COMPANIES}"]

        many = "".join(f"\n[[syncs]]\ncohort_id = {cohort}\n" for cohort in range(1, 20))
        path = write(bridge, tmp_path)
        path.write_text(path.read_text() + many)
        with pytest.raises(FileRefused) as crowded:
            applying.plan_config(bridge, LOCAL, path)

    assert [mistake.field for mistake in crowded.value.mistakes] == ["syncs.every_minutes"]
    assert "allows project 3713224 60 queries an hour, and its 19 active syncs" in crowded.value.mistakes[0].message


def test_a_connection_that_a_vendor_refuses_is_not_stored(
    sandbox: Sandbox, other_home: Home, home: Home, secrets: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with home.bridge() as bridge:
        recurring.add_sync(bridge, LOCAL, POWER)
        path = write(bridge, tmp_path)
    monkeypatch.setenv(TOKEN, "a token that nobody made")
    monkeypatch.setenv(MIXPANEL_SECRET, "a secret that nobody has")

    with other_home.bridge(mixpanel_url=sandbox.url, **OPEN) as bridge:
        empty = state(bridge)
        with pytest.raises(FileRefused) as refused:
            applying.apply_config(bridge, LOCAL, path)

        assert list(told(refused, path)) == [
            f'secret = {{ env = "{MIXPANEL_SECRET}" }}',
            f'secret = {{ env = "{TOKEN}" }}',
        ]
        assert state(bridge) == empty
        assert lines_of(bridge) == [
            ("local", "connect_mixpanel", "refused"),
            ("local", "connect_endpoint", "refused"),
            ("local", "apply_config", "refused"),
        ]


def test_what_is_refused_last_undoes_what_came_before(sandbox: Sandbox, home: Home, secrets: None, tmp_path: Path):
    second = f'[[destinations]]\nname = "second"\nendpoint = "{sandbox.endpoint}"\nsecret = {{ env = "{TOKEN}" }}\n'
    person = '[[people]]\nemail = "new@example.com"\nrole = "viewer"\n'
    with home.bridge(**OPEN) as bridge:
        path, before = write(bridge, tmp_path), state(bridge)
        path.write_text(f"schema = 1\n{second}{person}")
        number = len(lines_of(bridge))

        with pytest.raises(FileRefused) as refused:
            applying.apply_config(bridge, LOCAL, path)

        assert "the connection default leads to this address with this token already" in str(told(refused, path))
        assert state(bridge) == before
        assert lines_of(bridge, number) == [("local", "apply_config", "refused")]
        assert "new@example.com" not in state(bridge)


# --- changes -------------------------------------------------------------------------------------------------------


def test_another_token_puts_the_groups_in_doubt_as_on_the_page(
    sandbox: Sandbox, home: Home, secrets: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv(TOKEN, sandbox.new_token())
    with home.bridge(**OPEN) as bridge:
        export(bridge, POWER)
        path, number = write(bridge, tmp_path), len(lines_of(bridge))

        [change] = applying.apply_config(bridge, LOCAL, path).plan.changes

        assert (change.action, list(change.fields)) == ("change", ["secret"])
        assert change.notes == ("What its groups hold is in doubt then: 1 group is written in full next.",)
        assert group_row(bridge, POWER).in_doubt
        assert [action for _, action, _ in lines_of(bridge, number)] == ["replace_token", "apply_config"]
        assert export(bridge, POWER).write == "full"


def test_without_its_secret_a_connection_stays_as_it_is(sandbox: Sandbox, home: Home, tmp_path: Path):
    with home.bridge() as bridge:
        path = write(bridge, tmp_path)
        plan = applying.plan_config(bridge, LOCAL, path).plan
        assert plan.changes == []
        assert plan.notes == [f"Not compared, since they are not set: {MIXPANEL_SECRET}, {TOKEN}."]

        path = write(bridge, tmp_path, ('match_property = "$apptimize_user_id"', 'match_property = "plan_id"'))
        plan = applying.apply_config(bridge, LOCAL, path).plan
        assert [list(change.fields) for change in plan.changes] == [["match_property"]]

        path = write(bridge, tmp_path, ('region = "us"', 'region = "eu"'))
        with pytest.raises(FileRefused) as refused:
            applying.plan_config(bridge, LOCAL, path)
        assert list(told(refused, path).values()) == [
            f"the environment variable {MIXPANEL_SECRET} is not set, and its secret is needed."
        ]


def test_which_id_a_receiver_is_sent_needs_no_secret(sandbox: Sandbox, home: Home, tmp_path: Path):
    with home.bridge() as bridge:
        ids = ('member_id = "$apptimize_user_id"', 'member_id = "$distinct_id"\nmember_key = "uid"')
        path = write(bridge, tmp_path, ids, ("replaces", "adds"))

        applying.apply_config(bridge, LOCAL, path)

        assert applying.plan_config(bridge, LOCAL, path).plan.changes == []
        connection = list_connections(bridge.engine)[1]
        assert (connection.member_id, connection.member_key, connection.adds_only) == ("distinct", "uid", True)


def test_a_sync_is_changed_field_by_field(sandbox: Sandbox, home: Home, tmp_path: Path):
    with home.bridge() as bridge:
        sync = recurring.add_sync(bridge, LOCAL, POWER, tags=["a"], max_shrink=5)
        more = 'every_minutes = 60\ntags = ["b"]\nmatch_property = "plan_id"\nexpects_prefix = false\n'
        path = write(
            bridge, tmp_path, ("every_minutes = 15\n", more), ("max_shrink = 5\n", ""), ('tags = ["a"]\n', ""),
            ('"active"', '"paused"'),
        )  # fmt: skip

        applying.apply_config(bridge, LOCAL, path)

        now = listing.get_sync(bridge, LOCAL, sync.id).sync
        assert (now.every_minutes, now.tags, now.max_shrink, now.state) == (60, ["b"], None, SyncState.PAUSED)
        assert (now.match_property, now.expects_prefix) == ("plan_id", False)
        path.write_text(path.read_text().replace('state = "paused"\n', ""))
        assert applying.plan_config(bridge, LOCAL, path).plan.changes == []


def test_a_sync_runs_at_set_times_and_its_pause_has_an_end(
    sandbox: Sandbox, home: Home, tmp_path: Path, fake_clock: FakeClock
):
    with home.bridge(clock=fake_clock.clock) as bridge:
        sync = recurring.add_sync(bridge, LOCAL, POWER)
        end = (bridge.clock.now() + timedelta(days=3)).replace(microsecond=0)
        timed = 'schedule = "weekdays at 08:00 Europe/Berlin"'
        paused = f'state = "paused"\npaused_until = {end.isoformat()}'
        path = write(
            bridge, tmp_path, ("every_minutes = 15", timed), ('state = "active"', paused), ("after = 3", "after = 5")
        )

        [at_times, failing] = applying.apply_config(bridge, LOCAL, path).plan.changes

        assert at_times.fields["schedule"] == (None, "weekdays at 08:00 Europe/Berlin")
        assert failing.fields == {"failing_after": (3, 5)}
        now = listing.get_sync(bridge, LOCAL, sync.id).sync
        assert (now.cron, now.zone, now.every_minutes) == ("0 8 * * 1-5", "Europe/Berlin", None)
        assert (now.state, now.paused_until) == (SyncState.PAUSED, end)
        assert applying.plan_config(bridge, LOCAL, path).plan.changes == []

        fake_clock.shift_s = timedelta(days=4).total_seconds()
        assert applying.plan_config(bridge, LOCAL, path).plan.changes == []  # a worker resumes it
        text = re.sub("paused_until = .*\n", "", path.read_text()).replace("paused", "active")
        path.write_text(text.replace(timed, "every_minutes = 60"))
        applying.apply_config(bridge, LOCAL, path)
        now = listing.get_sync(bridge, LOCAL, sync.id).sync
        assert (now.state, now.paused_until, now.cron, now.every_minutes) == (SyncState.ACTIVE, None, None, 60)


def test_a_group_that_is_there_keeps_its_name(sandbox: Sandbox, home: Home, tmp_path: Path):
    def named(name: str) -> tuple[str, str]:
        return f"cohort_id = {POWER}\n", f'cohort_id = {POWER}\ngroup_name = "{name}"\n'

    with home.bridge() as bridge:
        recurring.add_sync(bridge, LOCAL, POWER)
        recurring.add_sync(bridge, LOCAL, WEB, group="Mine")
        applying.apply_config(bridge, LOCAL, write(bridge, tmp_path, ('"Mine"', '"Ours"')))
        assert [view.group.name for view in listing.list_syncs(bridge, LOCAL)][1] == "Ours"
        service.once(bridge)

        for name, wrong in (("Ours", ('group_name = "Ours"\n', "")), ("Power users", named("Another"))):
            path = write(bridge, tmp_path, wrong)
            with pytest.raises(FileRefused) as refused:
                applying.plan_config(bridge, LOCAL, path)
            [mistake] = refused.value.mistakes
            assert mistake.field == "syncs.group_name"
            assert mistake.message.startswith(f"the group is there as {name}, and a group keeps its name: ")
        path = write(bridge, tmp_path, named("Power users"))
        assert applying.plan_config(bridge, LOCAL, path).plan.changes == []


def test_people_get_their_roles_and_the_last_admin_keeps_it(sandbox: Sandbox, home: Home, tmp_path: Path):
    with home.bridge(admins="chief@example.com") as bridge:
        people.add_person(bridge, LOCAL, "chief@example.com", "viewer")
        assert 'email = "chief@example.com"\nrole = "admin"' in state(bridge)
        path = write(bridge, tmp_path, ('role = "admin"', 'role = "viewer"'))
        with pytest.raises(FileRefused, match="1 mistake"):
            applying.plan_config(bridge, LOCAL, path)
    with home.bridge() as bridge:
        people.add_person(bridge, LOCAL, "a@example.com", "admin")
        path = write(bridge, tmp_path, ('role = "admin"', 'role = "admin"\ndisabled = true'))
        with pytest.raises(FileRefused, match="1 mistake"):
            applying.plan_config(bridge, LOCAL, path)

        path.write_text(path.read_text() + '[[people]]\nemail = "z@example.com"\nrole = "admin"\n')
        applying.apply_config(bridge, LOCAL, path, prune=True)

        with read_session(bridge.engine) as session:
            rows = session.exec(select(Person.email, Person.role, Person.disabled).order_by(Person.email)).all()
        assert rows == [
            ("a@example.com", "admin", True),
            ("chief@example.com", "viewer", False),
            ("z@example.com", "admin", False),
        ]


def test_only_prune_removes_and_groups_stay_as_they_are(sandbox: Sandbox, home: Home, tmp_path: Path, folder: Path):
    with home.bridge() as bridge:
        destinations.connect_csv(bridge, LOCAL, folder=str(folder))
        people.add_person(bridge, LOCAL, "a@example.com", "admin")
        kept, gone = (recurring.add_sync(bridge, LOCAL, cohort, to="default") for cohort in (POWER, WEB))
        service.once(bridge)
        text = state(bridge)
        path = tmp_path / "bridge.toml"
        tables = re.split(r"\n(?=\n)", text)
        path.write_text("\n".join(t for t in tables if str(WEB) not in t and "csv" not in t and "people" not in t))

        plan = applying.apply_config(bridge, LOCAL, path).plan
        assert (plan.changes, [(each.kind, each.name) for each in plan.left]) == (
            [],
            [("sync", f"cohort {WEB} to default"), ("destination", "csv")],
        )
        assert state(bridge) == text
        number = len(lines_of(bridge))

        applying.apply_config(bridge, LOCAL, path, prune=True)

        assert [action for _, action, _ in lines_of(bridge, number)] == [
            "remove_sync",
            "remove_connection",
            "apply_config",
        ]
        assert listing.get_sync(bridge, LOCAL, gone.id).sync.state == SyncState.REMOVED
        assert listing.get_sync(bridge, LOCAL, kept.id).sync.state == SyncState.ACTIVE
        assert "a@example.com" in state(bridge)
        assert applying.plan_config(bridge, LOCAL, path, prune=True).plan.changes == []
    assert sandbox.group(WEB) == sandbox.answer(WEB).group


def test_a_destination_may_get_another_name_when_what_is_left_goes(
    sandbox: Sandbox, home: Home, secrets: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("COHORT_BRIDGE_MIXPANEL_DEFAULT_SECRET", "")
    with home.bridge(**OPEN) as bridge:
        recurring.add_sync(bridge, LOCAL, POWER)
        service.once(bridge)
        path = write(bridge, tmp_path, ('name = "default"\nkind', 'name = "main"\nkind'))
        path.write_text(path.read_text().replace('destination = "default"', 'destination = "main"'))

        applying.apply_config(bridge, LOCAL, path, prune=True)
        service.once(bridge)

        assert [each.name for each in list_connections(bridge.engine)] == ["default", "main"]
    assert sandbox.group(POWER) == sandbox.answer(POWER).group


def test_two_at_one_address_are_kept_apart_as_the_file_says(
    sandbox: Sandbox, other_home: Home, home: Home, secrets: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("COHORT_BRIDGE_SECOND", sandbox.new_token())
    second = (
        f'[[destinations]]\nname = "a"\nendpoint = "{sandbox.endpoint}"\nsecret = {{ env = "COHORT_BRIDGE_SECOND" }}\n'
    )
    with home.bridge() as bridge:
        path = write(bridge, tmp_path)
        path.write_text(path.read_text() + second)
    with other_home.bridge(mixpanel_url=sandbox.url, **OPEN) as bridge:
        with pytest.raises(FileRefused) as refused:
            applying.plan_config(bridge, LOCAL, path)
        assert [mistake.field for mistake in refused.value.mistakes] == ["destinations.endpoint"]

        path.write_text(path.read_text() + "apart = true\n")
        applying.apply_config(bridge, LOCAL, path)

        assert [(each.name, each.apart) for each in list_connections(bridge.engine)[1:]] == [
            ("a", True),
            ("default", False),
        ]
        assert applying.plan_config(bridge, LOCAL, path).plan.changes == []


def test_an_address_that_is_a_secret_is_never_in_the_file(
    sandbox: Sandbox, other_home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    address = f"{sandbox.endpoint}?token=hidden-token-of-the-address"
    monkeypatch.setenv("COHORT_BRIDGE_DESTINATION_DEFAULT_ADDRESS", address)
    monkeypatch.setenv(TOKEN, sandbox.token)
    path = tmp_path / "bridge.toml"
    destination = (
        'schema = 1\n[[destinations]]\nname = "default"\n'
        'endpoint = { env = "COHORT_BRIDGE_DESTINATION_DEFAULT_ADDRESS" }\n'
        f'secret = {{ env = "{TOKEN}" }}\n'
    )
    path.write_text(destination)
    with other_home.bridge(**OPEN) as bridge:
        outcome = applying.apply_config(bridge, LOCAL, path)

        [connection] = list_connections(bridge.engine)
        assert (bridge.vault.decrypt(connection.address), "token" in connection.url) == (address, False)
        assert "hidden-token" not in state(bridge) + repr(outcome) + str(lines_of(bridge))
        assert applying.plan_config(bridge, LOCAL, path).plan.changes == []
        path.write_text(state(bridge))
        assert applying.plan_config(bridge, LOCAL, path).plan.changes == []


# --- alerts --------------------------------------------------------------------------------------------------------

OPS = "COHORT_BRIDGE_CHANNEL_OPS_ADDRESS"


def channel(bridge: Bridge) -> AlertChannel:
    [present] = channels.list_channels(bridge, LOCAL)
    return present


def test_a_channel_whose_syncs_were_removed_is_the_same_in_another_home(
    sandbox: Sandbox, home: Home, other_home: Home, secrets: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv(OPS, "https://127.0.0.1/alerts/s3cret")
    with home.bridge(mixpanel_url=sandbox.url, **OPEN) as bridge:
        sync = recurring.add_sync(bridge, LOCAL, POWER)
        channels.add_channel(
            bridge,
            LOCAL,
            ChannelForm("ops", SecretStr("https://127.0.0.1/alerts/s3cret"), all_syncs=False, sync_ids=[sync.id or 0]),
        )
        recurring.remove_sync(bridge, LOCAL, sync.id or 0)
        path, before = write(bridge, tmp_path), state(bridge)
        assert applying.plan_config(bridge, LOCAL, path, prune=True).plan.changes == []

    with other_home.bridge(mixpanel_url=sandbox.url, **OPEN) as bridge:
        applying.apply_config(bridge, LOCAL, path)

        assert (channel(bridge).all_syncs, channel(bridge).sync_ids, channel(bridge).tags) == (False, [], [])
        assert applying.plan_config(bridge, LOCAL, path, prune=True).plan.changes == []
        assert state(bridge) == before


def test_a_channel_is_told_of_what_the_file_says(
    sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv(OPS, "https://127.0.0.1/alerts/s3cret")
    told_of = f'[{{ cohort_id = {WEB}, destination = "default" }}]'
    table = f'[[channels]]\nname = "ops"\naddress = {{ env = "{OPS}" }}\ntags = ["a"]\nsyncs = {told_of}\n'
    with home.bridge(**OPEN) as bridge:
        recurring.add_sync(bridge, LOCAL, POWER)
        number = len(lines_of(bridge))
        path = write(bridge, tmp_path)
        path.write_text(f"{path.read_text()}{table}\n[[syncs]]\ncohort_id = {WEB}\nevery_minutes = 60\n")

        applying.apply_config(bridge, LOCAL, path)

        wanted = [view.sync.id for view in listing.list_syncs(bridge, LOCAL) if view.sync.cohort_id == WEB]
        assert (channel(bridge).sync_ids, channel(bridge).tags, channel(bridge).all_syncs) == (wanted, ["a"], False)
        assert [action for _, action, _ in lines_of(bridge, number)] == ["add_sync", "add_channel", "apply_config"]
        assert applying.plan_config(bridge, LOCAL, path, prune=True).plan.changes == []
        assert "s3cret" not in state(bridge) + str(lines_of(bridge))
        monkeypatch.delenv(OPS)

        path = write(bridge, tmp_path, ("warnings = false", "warnings = true\nenabled = false"), ('tags = ["a"]\n', ""))
        applying.apply_config(bridge, LOCAL, path)
        assert (channel(bridge).warnings, channel(bridge).enabled, channel(bridge).tags) == (True, False, [])
        assert bridge.vault.decrypt(channel(bridge).address).endswith("s3cret")

        path = write(bridge, tmp_path, ("60\n", '60\ngroup_name = "Started again"\n'))
        applying.apply_config(bridge, LOCAL, path)
        assert channel(bridge).sync_ids not in (wanted, [])
        assert applying.plan_config(bridge, LOCAL, path, prune=True).plan.changes == []

        path.write_text(re.sub(r"\[\[channels\]\][^\[]*(\[\{.*\n)?[^\[]*", "", path.read_text()))
        applying.apply_config(bridge, LOCAL, path, prune=True)
        assert channels.list_channels(bridge, LOCAL) == []


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (f'syncs = [{{ cohort_id = {WEB}, destination = "default" }}]', "channels.syncs"),
        (f'syncs = [{{ cohort_id = {POWER}, destination = "nowhere" }}]', "channels.syncs"),
        ("syncs = [1]", "channels.syncs"),
        ("tags = []", "channels.tags"),
        (f'address = "{OPS}"', "channels.address"),
    ],
)
def test_a_channel_that_is_wrong_is_refused(
    sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, field: str
):
    monkeypatch.setenv(OPS, "https://127.0.0.1/alerts/s3cret")
    address = "" if line.startswith("address") else f'address = {{ env = "{OPS}" }}\n'
    with home.bridge() as bridge:
        recurring.add_sync(bridge, LOCAL, POWER)
        path = write(bridge, tmp_path)
        path.write_text(f'{path.read_text()}[[channels]]\nname = "ops"\n{address}{line}\n')

        with pytest.raises(FileRefused) as refused:
            applying.plan_config(bridge, LOCAL, path)

    assert [mistake.field for mistake in refused.value.mistakes] == [field]


def test_a_channel_that_leads_inside_is_refused_before_anything_is_changed(
    sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv(OPS, "https://127.0.0.1/alerts/s3cret")
    with home.bridge() as bridge:
        path, before = write(bridge, tmp_path), state(bridge)
        table = f'[[channels]]\nname = "ops"\naddress = {{ env = "{OPS}" }}\n'
        path.write_text(f'{path.read_text()}{table}[[people]]\nemail = "a@example.com"\nrole = "viewer"\n')

        with pytest.raises(FileRefused) as refused:
            applying.apply_config(bridge, LOCAL, path)

        assert [mistake.field for mistake in refused.value.mistakes] == ["channels.address"]
        assert "s3cret" not in str(refused.value.mistakes)
        assert state(bridge) == before
        assert [line[1:] for line in lines_of(bridge)[-2:]] == [("add_channel", "refused"), ("apply_config", "refused")]


# --- while others work ---------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from core.access.roles import LOCAL
from core.declared import applying
from tests.stage.home import Home
home, file, url = sys.argv[1:]
applying.events.note = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with Home(Path(home)).bridge(mixpanel_url=url, allow_private_hosts=True) as bridge:
    applying.apply_config(bridge, LOCAL, Path(file))
"""


def test_what_is_killed_half_way_has_changed_nothing_and_is_done_by_the_next(
    sandbox: Sandbox, home: Home, other_home: Home, secrets: None, tmp_path: Path
):
    with home.bridge(mixpanel_url=sandbox.url) as bridge:
        for cohort in (POWER, WEB):
            recurring.add_sync(bridge, LOCAL, cohort)
        path, wanted = write(bridge, tmp_path), state(bridge)
    with other_home.bridge(mixpanel_url=sandbox.url, **OPEN) as bridge:
        empty = state(bridge)

        arguments = [sys.executable, "-c", KILLED, str(other_home.path), str(path), sandbox.url]
        killed = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)

        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert state(bridge) == empty
        assert lines_of(bridge) == []
        applying.apply_config(bridge, LOCAL, path)
        assert state(bridge) == wanted
        assert lines_of(bridge)[-1] == ("local", "apply_config", "done")


def test_two_at_once_apply_it_once(sandbox: Sandbox, home: Home, other_home: Home, secrets: None, tmp_path: Path):
    with home.bridge(mixpanel_url=sandbox.url) as bridge:
        for cohort in (POWER, WEB):
            recurring.add_sync(bridge, LOCAL, cohort)
        path, wanted = write(bridge, tmp_path), state(bridge)
    env = {"COHORT_BRIDGE_MIXPANEL_URL": sandbox.url, "COHORT_BRIDGE_ALLOW_PRIVATE_HOSTS": "1", TOKEN: sandbox.token}
    env[MIXPANEL_SECRET] = sandbox_people.ADMIN_SECRET

    ends = other_home.run_all(*[("config", "apply", str(path))] * 2, env=env)

    assert [end.code for end in ends] == [0, 0], [end.err for end in ends]
    with other_home.bridge() as bridge:
        assert state(bridge) == wanted
        assert [action for _, action, _ in lines_of(bridge)].count("apply_config") == 1


def test_what_changes_meanwhile_is_planned_again(
    sandbox: Sandbox, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with home.bridge() as bridge:
        first = recurring.add_sync(bridge, LOCAL, POWER)
        path = write(bridge, tmp_path, ("every_minutes = 15", "every_minutes = 60"))
        meanwhile: list[Callable[[], object]] = [lambda: recurring.remove_sync(bridge, LOCAL, first.id)]
        real = applying.check_cohorts

        def check(*arguments: object) -> None:
            real(*arguments)  # type: ignore[arg-type]
            while meanwhile:
                meanwhile.pop()()

        monkeypatch.setattr(applying, "check_cohorts", check)

        [change] = applying.apply_config(bridge, LOCAL, path).plan.changes

        assert change.action == "add"
        with read_session(bridge.engine) as session:
            assert len(session.exec(select(Group)).all()) == 1
        assert [view.sync.every_minutes for view in listing.list_syncs(bridge, LOCAL)] == [60]
