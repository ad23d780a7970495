"""Connections: one receiver is one destination, and replacing a connection leaves no group believed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from pydantic import SecretStr

from core.access import audit_log
from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import destinations, lookup, mixpanel_connection, removal
from core.connections.mixpanel_connection import MixpanelForm
from core.connections.receiver_form import ReceiverForm
from core.errors import CohortBridgeError, NameInUse, PlaceInUse, ReceiverShared, SettingsError
from core.sandbox import people
from core.syncs import groups, listing, one_time, recurring, runs
from core.worker import service
from data.engine import write_session
from data.models import Connection, ConnectionKind, Group, RunStatus
from tests.stage.home import PRACTICE, Home, export, group_row
from tests.stage.hostile import Asked, answer, hostile_server
from tests.stage.sandbox import IMPORTED, LATER_S, PROJECT, TRIAL, WEB, Sandbox
from tests.stage.seeds import few, some

pytestmark = some(8)


@pytest.fixture
def bridge(home: Home, sandbox: Sandbox) -> Iterator[Bridge]:
    """The connected home, opened in this process."""
    with home.bridge(mixpanel_url=sandbox.url) as opened:
        yield opened


def token_of(sandbox: Sandbox, workspace: str = "") -> SecretStr:
    answer = sandbox.post("/sandbox/api/tokens", json={"name": "Another", "workspace": workspace})
    return SecretStr(answer.raise_for_status().json()["token"])


def held_in(sandbox: Sandbox, cohort: int, workspace: str) -> dict[str, str]:
    path = f"/sandbox/api/groups/{PROJECT}/{cohort}"
    return sandbox.get(path, params={"workspace": workspace}).raise_for_status().json()["members"]


def connect(bridge: Bridge, url: str, token: SecretStr, name: str, **options: bool | str) -> Connection:
    return destinations.connect_endpoint(bridge, LOCAL, url=url, token=token, name=name, **options)  # type: ignore[arg-type]


def named(bridge: Bridge, name: str = "default", side: str = "destination") -> Connection:
    connections = [
        connection
        for connection in lookup.list_connections(bridge, LOCAL)
        if (connection.name, connection.side) == (name, side)
    ]
    assert connections, name
    return connections[0]


def number(connection: Connection) -> int:
    assert connection.id
    return connection.id


def names(bridge: Bridge) -> list[str]:
    return [
        connection.name for connection in lookup.list_connections(bridge, LOCAL) if connection.side == "destination"
    ]


def newest_actions(bridge: Bridge, count: int = 3) -> list[str]:
    return [entry.action for entry in audit_log.list_audit(bridge, LOCAL)[:count]]


def put_twin(bridge: Bridge, token: SecretStr, name: str = "twin") -> Connection:
    """Put a second connection to the same address into the database, as an earlier version took it."""
    first = named(bridge)
    with write_session(bridge.engine) as session:
        twin = Connection(
            created_at=bridge.clock.now(),
            side="destination",
            kind=ConnectionKind.ENDPOINT,
            name=name,
            url=first.url,
            practice=True,
            secret=bridge.vault.encrypt(token.get_secret_value()),
        )
        session.add(twin)
    return twin


def put_group(bridge: Bridge, cohort: int, twin: Connection) -> None:
    """Put a group that was delivered to the twin into the database."""
    now = bridge.clock.now()
    with write_session(bridge.engine) as session:
        session.add(
            Group(
                created_at=now,
                destination_id=number(twin),
                project_id=people.PROJECT_ID,
                cohort_id=cohort,
                cohort_name="Delivered",
                name="Delivered",
                delivered_at=now,
            )
        )


# --- two destinations, one receiver --------------------------------------------------------------------------------


def test_the_same_address_and_token_are_one_destination_however_it_is_spelled(bridge: Bridge, sandbox: Sandbox):
    for spelled in ("{}", "{}/", "{}?", " {}#x "):
        with pytest.raises(PlaceInUse, match="the connection default leads to this address with this token already"):
            connect(bridge, spelled.format(sandbox.endpoint), SecretStr(sandbox.token), "second", apart=True)
    elsewhere = sandbox.endpoint.replace("127.0.0.1", "LOCALHOST")
    with pytest.raises(PlaceInUse, match="default"):
        connect(bridge, elsewhere, SecretStr(sandbox.token), "second")

    assert names(bridge) == ["default"]


def test_the_same_folder_is_one_destination_through_links_too(bridge: Bridge, tmp_path: Path):
    (tmp_path / "groups").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "groups")
    destinations.connect_csv(bridge, LOCAL, folder=str(tmp_path / "groups"))

    for spelled in (tmp_path / "groups", tmp_path / "link", tmp_path / "link" / ".." / "groups"):
        with pytest.raises(PlaceInUse, match="Folder: the connection csv writes to this folder already"):
            destinations.connect_csv(bridge, LOCAL, folder=str(spelled), name="second")

    assert names(bridge) == ["csv", "default"]


def test_another_token_at_an_address_is_refused_until_it_is_said_that_groups_are_apart(
    bridge: Bridge, sandbox: Sandbox, home: Home
):
    theirs = token_of(sandbox, "theirs")
    env = {"COHORT_BRIDGE_APPTIMIZE_TOKEN": theirs.get_secret_value()}
    command = ("connect", "apptimize", "--endpoint", sandbox.endpoint, "--name", "theirs")

    refused = home.run(*command, env=env)

    assert refused.code == 1
    assert "connected already as default, with another token" in refused.err
    assert refused.err.index("--name default") < refused.err.index("--apart")  # the first offer
    assert home.run(*command, "--apart", env=env).code == 0
    assert named(bridge, "theirs").apart
    for to in ("default", "theirs"):
        assert export(bridge, IMPORTED, to=to).status == RunStatus.SUCCEEDED
    assert sandbox.group(IMPORTED) == held_in(sandbox, IMPORTED, "theirs") == sandbox.answer(IMPORTED).group
    # What was said once is remembered when the token is replaced, and is not taken for what is said of a third one.
    destinations.replace_token(bridge, LOCAL, number(named(bridge, "theirs")), token_of(sandbox, "theirs"))
    assert named(bridge, "theirs").apart
    with pytest.raises(PlaceInUse):
        connect(bridge, sandbox.endpoint, token_of(sandbox), "third")


def test_the_first_offer_replaces_the_token_and_the_groups_are_written_in_full(
    bridge: Bridge, sandbox: Sandbox, home: Home
):
    export(bridge, IMPORTED)
    sandbox.at(LATER_S)
    token = token_of(sandbox, "theirs")
    env = {"COHORT_BRIDGE_APPTIMIZE_TOKEN": token.get_secret_value()}

    done = home.run("connect", "apptimize", "--endpoint", sandbox.endpoint, env=env)

    assert (done.code, names(bridge)) == (0, ["default"])
    assert group_row(bridge, IMPORTED).in_doubt
    assert newest_actions(bridge, 1) == ["replace_token"]
    assert export(bridge, IMPORTED).write == "full"
    assert held_in(sandbox, IMPORTED, "theirs") == sandbox.answer(IMPORTED).group


def test_of_two_admins_at_once_one_connects_a_folder(home: Home, tmp_path: Path):
    both = Barrier(2)

    def connect_as(name: str) -> str:
        with home.bridge() as own:
            both.wait()
            try:
                return destinations.connect_csv(own, LOCAL, folder=str(tmp_path / "one"), name=name).name
            except CohortBridgeError as exc:
                return exc.code

    with ThreadPoolExecutor(2) as pool:
        answers = sorted(pool.map(connect_as, ("first", "second")))

    assert answers in (["first", "place_in_use"], ["place_in_use", "second"])


# --- twins of an earlier version -----------------------------------------------------------------------------------


def test_twins_that_are_there_stop_with_the_cause_until_it_is_said_that_they_are_apart(
    bridge: Bridge, sandbox: Sandbox
):
    shared = recurring.add_sync(bridge, LOCAL, IMPORTED, to="default")
    alone = recurring.add_sync(bridge, LOCAL, TRIAL, to="default")
    put_group(bridge, IMPORTED, put_twin(bridge, token_of(sandbox, "theirs")))

    service.once(bridge)

    views = {view.sync.id: view.sync for view in listing.list_syncs(bridge, LOCAL)}
    assert (views[shared.id].state, views[alone.id].state) == ("paused", "active")
    assert "default and twin lead to the same place" in (views[shared.id].paused_reason or "")
    assert "pause_sync" in newest_actions(bridge)
    # Which of the two wrote last is not known: neither group is said to be as it was delivered.
    assert groups.find_group(bridge, LOCAL, IMPORTED, to="twin").in_doubt
    assert not groups.find_group(bridge, LOCAL, TRIAL).in_doubt
    assert (sandbox.group(IMPORTED), sandbox.group(TRIAL)) == (None, sandbox.answer(TRIAL).group)
    for refused in (
        lambda: recurring.resume_sync(bridge, LOCAL, shared.id or 0),
        lambda: recurring.run_now(bridge, LOCAL, shared.id or 0),
        lambda: one_time.start_export(bridge, LOCAL, IMPORTED, to="default"),
        lambda: one_time.start_export(bridge, LOCAL, IMPORTED, to="twin"),
        lambda: recurring.add_sync(bridge, LOCAL, TRIAL, to="twin"),
    ):
        with pytest.raises(ReceiverShared):
            refused()

    destinations.keep_apart(bridge, LOCAL, number(named(bridge, "twin")))
    recurring.resume_sync(bridge, LOCAL, shared.id or 0)
    service.once(bridge)
    export(bridge, IMPORTED, to="twin")

    assert sandbox.group(IMPORTED) == held_in(sandbox, IMPORTED, "theirs") == sandbox.answer(IMPORTED).group
    assert newest_actions(bridge, 30).count("keep_apart") == 1


def test_twins_with_one_token_cannot_be_apart_and_removing_one_decides(bridge: Bridge, sandbox: Sandbox):
    export(bridge, IMPORTED)
    twin = put_twin(bridge, SecretStr(sandbox.token))
    put_group(bridge, IMPORTED, twin)
    sync = recurring.add_sync(bridge, LOCAL, WEB, to="default")
    put_group(bridge, WEB, twin)

    service.once(bridge)
    with pytest.raises(PlaceInUse):
        destinations.keep_apart(bridge, LOCAL, number(twin))
    sandbox.fill(IMPORTED, {"i_of-the-twin": "x"})
    removal.remove_connection(bridge, LOCAL, number(twin))

    # The twin wrote there too.
    assert groups.find_group(bridge, LOCAL, IMPORTED, to="default").in_doubt
    assert export(bridge, IMPORTED).write == "full"
    recurring.resume_sync(bridge, LOCAL, sync.id or 0)
    service.once(bridge)
    assert sandbox.group(IMPORTED) == sandbox.answer(IMPORTED).group
    assert sandbox.group(WEB) == sandbox.answer(WEB).group


def test_a_run_that_waits_when_a_folder_becomes_the_same_place_writes_nothing(bridge: Bridge, tmp_path: Path):
    for name in ("one", "two"):
        destinations.connect_csv(bridge, LOCAL, folder=str(tmp_path / name), name=name)
    for name in ("one", "two"):
        one_time.start_export(bridge, LOCAL, IMPORTED, to=name)
    (tmp_path / "two").rmdir()
    (tmp_path / "two").symlink_to(tmp_path / "one")

    service.once(bridge)

    ended = runs.list_runs(bridge, LOCAL)
    assert "receiver_shared" in [run.error_code for run in ended]
    assert len(list((tmp_path / "one").glob("*.csv"))) == sum(run.status == RunStatus.SUCCEEDED for run in ended) < 2


# --- adding and replacing ------------------------------------------------------------------------------------------


def test_a_name_that_is_taken_is_refused_with_a_free_one(bridge: Bridge, sandbox: Sandbox, home: Home, tmp_path: Path):
    destinations.connect_csv(bridge, LOCAL, folder=str(tmp_path / "groups"))

    for command in ("csv --folder other", f"csv --folder other --name {shlex.quote('default')}"):
        refused = home.run("connect", *shlex.split(command))
        assert refused.code == 1
        assert "-2" in refused.err
        assert "--replace" in refused.err
    with pytest.raises(NameInUse, match="there is a connection default already"):
        connect(bridge, sandbox.endpoint, token_of(sandbox), "default", if_taken="refuse")
    assert named(bridge, "csv").folder == str(tmp_path / "groups")


def test_an_address_that_is_changed_puts_every_group_in_doubt(
    bridge: Bridge, sandbox: Sandbox, home: Home, tmp_path: Path
):
    destinations.connect_csv(bridge, LOCAL, folder=str(tmp_path / "groups"))
    export(bridge, IMPORTED, to="csv")

    assert home.run("connect", "csv", "--folder", str(tmp_path / "other"), "--replace").code == 0

    assert newest_actions(bridge, 1) == ["change_folder"]
    assert group_row(bridge, IMPORTED).in_doubt
    assert export(bridge, IMPORTED, to="csv").write == "full"
    assert list((tmp_path / "other").glob("*.csv"))


def test_an_address_is_changed_with_a_token_and_only_to_a_free_place(bridge: Bridge, sandbox: Sandbox):
    theirs = connect(bridge, f"{sandbox.endpoint}?of=them", token_of(sandbox, "theirs"), "theirs")
    export(bridge, IMPORTED, to="theirs")

    with pytest.raises(CohortBridgeError, match="Token: this is needed"):
        destinations.change_address(
            bridge, LOCAL, number(theirs), ReceiverForm(SecretStr(sandbox.endpoint), secret=SecretStr(""))
        )
    with pytest.raises(PlaceInUse, match="default"):
        destinations.change_address(
            bridge, LOCAL, number(theirs), ReceiverForm(SecretStr(sandbox.endpoint), secret=token_of(sandbox, "theirs"))
        )
    assert not group_row(bridge, IMPORTED).in_doubt
    destinations.change_address(
        bridge,
        LOCAL,
        number(theirs),
        ReceiverForm(SecretStr(sandbox.endpoint), secret=token_of(sandbox, "theirs")),
        apart=True,
    )

    assert newest_actions(bridge, 1) == ["change_address"]
    assert named(bridge, "theirs").apart
    assert group_row(bridge, IMPORTED).in_doubt


def test_another_secret_of_a_project_is_taken_over_and_another_project_needs_to_be_said(
    bridge: Bridge, sandbox: Sandbox, home: Home
):
    export(bridge, IMPORTED)
    env = {"COHORT_BRIDGE_MIXPANEL_URL": sandbox.url, "COHORT_BRIDGE_MIXPANEL_SECRET": people.ADMIN_SECRET}
    command = ("connect", "mixpanel", "--username", people.ADMIN_USERNAME, "--project-id", PROJECT)

    assert home.run(*command, env=env).code == 0
    assert newest_actions(bridge, 1) == ["replace_secret"]
    assert not group_row(bridge, IMPORTED).in_doubt  # the project is the same, and what the group holds is known
    # The region's own hosts are another place: what is asked there is another project.
    with_other_host = sandbox.url.replace("127.0.0.1", "localhost")
    refused = home.run(*command, env=env | {"COHORT_BRIDGE_MIXPANEL_URL": with_other_host})
    assert refused.code == 1
    assert "--replace" in refused.err
    replaced = home.run(*command, "--replace", env=env | {"COHORT_BRIDGE_MIXPANEL_URL": with_other_host})

    assert replaced.code == 0, replaced.err
    assert newest_actions(bridge, 1) == ["change_project"]
    assert group_row(bridge, IMPORTED).in_doubt


def test_on_the_screen_a_secret_is_replaced_at_the_connection_and_the_project_token_stays(bridge: Bridge):
    mixpanel_connection.set_project_token(
        bridge, LOCAL, number(named(bridge, side="mixpanel")), SecretStr(people.PROJECT_TOKEN)
    )
    before = named(bridge, side="mixpanel")

    mixpanel_connection.replace_secret(
        bridge, LOCAL, number(before), username=people.ADMIN_USERNAME, secret=SecretStr(people.ADMIN_SECRET)
    )
    with pytest.raises(NameInUse):
        mixpanel_connection.connect_mixpanel(bridge, LOCAL, PRACTICE, if_taken="refuse")
    wrong = MixpanelForm(username="x", secret=SecretStr("x" * 20), project_id=people.PROJECT_ID)
    with pytest.raises(CohortBridgeError):
        mixpanel_connection.change_project(bridge, LOCAL, number(before), wrong)

    after = named(bridge, side="mixpanel")
    assert bridge.vault.decrypt(after.project_token) == people.PROJECT_TOKEN
    assert after.match_property == before.match_property
    assert after.secret != before.secret


def test_a_token_that_is_tested_while_another_admin_changes_the_address_does_not_bring_the_old_one_back(
    home: Home, sandbox: Sandbox
):
    with home.bridge(mixpanel_url=sandbox.url, allow_private_hosts=True) as own, hostile_server() as server:
        theirs = connect(own, f"{server.url}/hook", SecretStr("the-first-token"), "theirs")

        def change_meanwhile(_asked: Asked) -> list[bytes]:
            server.reply = lambda _: answer({})
            destinations.change_address(
                own,
                LOCAL,
                number(theirs),
                ReceiverForm(SecretStr(f"{server.url}/moved"), secret=SecretStr("the-second-token")),
            )
            return answer({})

        server.reply = change_meanwhile
        with pytest.raises(SettingsError, match="Somebody else has changed this connection meanwhile"):
            destinations.replace_token(own, LOCAL, number(theirs), SecretStr("the-third-token"))

        assert named(own, "theirs").url == f"{server.url}/moved"
        destinations.replace_token(own, LOCAL, number(theirs), SecretStr("the-third-token"))
        assert own.vault.decrypt(named(own, "theirs").secret) == "the-third-token"


# --- a run that is under way ---------------------------------------------------------------------------------------


@few(1)
@pytest.mark.parametrize("how", ["removed", "moved", "another token"])
def test_a_run_under_way_does_not_write_where_its_connection_leads_no_more(
    bridge: Bridge, sandbox: Sandbox, home: Home, how: str
):
    sandbox.fault("server_error", target="apptimize")
    under_way = home.begin("export", str(IMPORTED), "--json", env={"COHORT_BRIDGE_RETRY_OVER_S": "60"})
    sandbox.wait_for("cohort-sync")
    first = number(named(bridge))
    if how == "removed":
        removal.remove_connection(bridge, LOCAL, first)
    elif how == "another token":
        destinations.replace_token(bridge, LOCAL, first, token_of(sandbox, "theirs"))
    else:
        elsewhere = f"{sandbox.endpoint}?of=them"
        destinations.change_address(
            bridge, LOCAL, first, ReceiverForm(SecretStr(elsewhere), secret=token_of(sandbox, "theirs"))
        )
    sandbox.clear_faults()
    sandbox.at(LATER_S)
    connect(bridge, sandbox.endpoint, SecretStr(sandbox.token), "second", apart=how == "another token")

    assert export(bridge, IMPORTED, to="second").status == RunStatus.SUCCEEDED
    assert home.finish(under_way).json["status"] == "cancelled"
    assert sandbox.group(IMPORTED) == sandbox.answer(IMPORTED).group
