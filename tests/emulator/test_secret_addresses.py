"""An address that is a secret: sealed, compared by a keyed hash, and in no text that leaves the program."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from core import log
from core.access import audit_log
from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import destinations, key_rotation, lookup, removal
from core.connections.receiver_form import ReceiverForm, receiver_for, shown_address
from core.errors import CohortBridgeError, PlaceInUse, SecretKeyLost
from core.syncs import recurring, runs
from core.worker import service
from data.engine import read_session, write_session
from data.models import Connection, RunStatus
from tests.stage.certificates import make_certificate
from tests.stage.home import Home, export, group_row
from tests.stage.hostile import Hostile, answer, head, hostile_server
from tests.stage.sandbox import IMPORTED, LATER_S, WEB, Sandbox
from tests.stage.seeds import some

pytestmark = some(8)

SECRET = "s3cr3t-9Xq7-inthepath-Zk41"
PATH = f"/hooks/{SECRET}/cohorts"


@pytest.fixture
def bridge(home: Home, sandbox: Sandbox) -> Iterator[Bridge]:
    with home.bridge(mixpanel_url=sandbox.url, allow_private_hosts=True) as opened:
        yield opened


def secret_form(url: str, **entered: str) -> ReceiverForm:
    return ReceiverForm(SecretStr(url), sign_in="address", **entered)  # type: ignore[arg-type]


def basic_form(url: str, password: str = "a-long-password") -> ReceiverForm:
    return ReceiverForm(SecretStr(url), sign_in="basic", sign_in_name="someone", secret=SecretStr(password))


def stored(bridge: Bridge, name: str) -> Connection:
    return next(connection for connection in lookup.list_connections(bridge, LOCAL) if connection.name == name)


@contextmanager
def listening() -> Generator[io.StringIO]:
    """Take down all that is logged inside, as this program logs it when everything is to be logged."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    text = io.StringIO()
    try:
        log.configure("DEBUG")
        for handler in root.handlers:
            assert isinstance(handler, logging.StreamHandler)
            handler.setStream(text)
        yield text
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def cut_off(status: int = 200) -> Iterator[bytes]:
    yield head(status, Content_Length="1000")
    yield b'{"action":'


FAILURES: dict[str, Callable[[str], Iterable[bytes]]] = {
    "unauthorized": lambda _: answer({"error": SECRET}, 401),
    "forbidden": lambda _: answer(SECRET.encode(), 403),
    "not found": lambda _: answer({"status": "failure", "error": {"message": PATH, "code": 404}}, 404),
    "failure in 200": lambda _: answer({"status": "failure", "error": {"message": PATH, "code": 400}}),
    "redirect": lambda url: answer(b"", 302, Location=f"{url}{PATH}/elsewhere"),
    "broken redirect": lambda url: answer(b"", 301, Location=f"http://[{SECRET}"),
    "server error": lambda _: answer(SECRET.encode(), 500),
    "cut off": lambda _: cut_off(),
    "no answer": lambda _: [],
    "no http": lambda _: [f"{SECRET}\r\n\r\n".encode()],
}


def test_no_failure_of_a_delivery_tells_a_secret_address(bridge: Bridge, home: Home, capfd: pytest.CaptureFixture[str]):
    told = list[str]()
    with hostile_server() as server, listening() as logged:
        made = destinations.connect_receiver(bridge, LOCAL, secret_form(f"{server.url}{PATH}"), name="hook")
        for name, reply in FAILURES.items():
            server.reply = lambda _, reply=reply: reply(server.url)
            run = export(bridge, WEB, to="hook")
            assert run.status == RunStatus.FAILED, name
            assert run.error_code != "unexpected", name
            told.append(f"{run!r} {run.error_message} {run.error_advice}")
        sync = recurring.add_sync(bridge, LOCAL, WEB, to="hook")
        server.reply = lambda _: answer({}, 404)
        service.once(bridge)
        logging.getLogger("test").debug("the end")
        assert any(asked.path == PATH for asked in server.asked if asked.method == "POST")
    assert "the end" in logged.getvalue()
    told.append(repr(runs.list_runs(bridge, LOCAL)))
    with pytest.raises(CohortBridgeError) as caught:
        destinations.replace_sign_in(bridge, LOCAL, made.id or 0, secret_form(f"{server.url}{PATH}"))

    told += [repr(caught.value), caught.value.message, caught.value.advice, repr(made), shown_address(made), repr(sync)]
    told += [logged.getvalue(), audit_text(bridge), *capfd.readouterr(), *home.said]
    assert_hidden(bridge, home.path, told)
    assert shown_address(made) == f"{server.url}/…"


def audit_text(bridge: Bridge) -> str:
    return "".join(str(part) for part in audit_log.audit_csv(bridge, LOCAL))


def assert_hidden(bridge: Bridge, home: Path, told: list[str]) -> None:
    """Nothing that was told, and no file of the home, holds the secret."""
    assert [text for text in told if SECRET in text] == []
    bridge.engine.dispose()
    files = [path for path in home.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("how", ["unauthorized", "unreachable", "not trusted", "no address", "private", "taken"])
def test_no_refused_attempt_tells_a_secret_address(
    bridge: Bridge, home: Home, tmp_path: Path, how: str, capfd: pytest.CaptureFixture[str]
):
    certificate = make_certificate(tmp_path, "hooks.example.com") if how == "not trusted" else None
    with hostile_server(certificate) as server, listening() as logged:
        urls = {
            "unreachable": f"http://127.0.0.1:9{PATH}",
            "no address": f"https://[::1{PATH}",
            "private": f"https://169.254.169.254{PATH}",
        }
        own = bridge if how != "private" else home_with_public_reach(bridge)
        form = secret_form(urls.get(how, f"{server.url}{PATH}"))
        if how == "taken":
            destinations.connect_receiver(own, LOCAL, form, name="first")
        if how == "unauthorized":
            server.reply = lambda _: answer({}, 401)
        with pytest.raises(CohortBridgeError, match="^Endpoint: |certificate") as caught:
            destinations.connect_receiver(own, LOCAL, form, name="second")

    told = [repr(caught.value), str(caught.value), caught.value.advice, logged.getvalue(), *capfd.readouterr()]
    refused = audit_log.list_audit(bridge, LOCAL, audit_log.AuditFilter(outcome="refused"))
    assert [entry.action for entry in refused] == ["connect_receiver"]
    assert refused[0].subject.startswith("Destination second at ")
    told += [audit_text(bridge), refused[0].subject]
    assert_hidden(bridge, home.path, told)


@pytest.mark.parametrize("sign_in", ["", "basic", "bearer", "header"])
def test_a_secret_address_that_is_entered_with_something_else_that_signs_in_is_in_no_refused_attempt(
    bridge: Bridge, hooks: Hostile, sign_in: str
):
    destinations.connect_receiver(bridge, LOCAL, secret_form(f"{hooks.url}{PATH}"), name="hook")
    name = {"basic": "someone", "header": "X-Api-Key"}.get(sign_in, "")
    other = ReceiverForm(SecretStr(f"{hooks.url}{PATH}/"), sign_in, SecretStr("a-long-password"), name)

    with pytest.raises(PlaceInUse):
        destinations.connect_receiver(bridge, LOCAL, other, name="second")

    assert SECRET not in audit_text(bridge)


def home_with_public_reach(bridge: Bridge) -> Bridge:
    return replace(bridge, settings=bridge.settings.model_copy(update={"allow_private_hosts": False}))


@pytest.fixture(scope="module")
def hooks() -> Iterator[Hostile]:
    with hostile_server() as server:
        yield server


def test_two_secret_addresses_at_one_host_are_two_places_and_each_is_one(bridge: Bridge, hooks: Hostile):
    first, other = f"{hooks.url}{PATH}", f"{hooks.url}/hooks/another-secret-0123/cohorts"
    destinations.connect_receiver(bridge, LOCAL, secret_form(first), name="one")
    destinations.connect_receiver(bridge, LOCAL, secret_form(other), name="two")

    assert stored(bridge, "one").url == stored(bridge, "two").url == hooks.url
    for spelled in (first, f"{first}/", f" {first}#x", first.replace("127.0.0.1", "LOCALHOST")):
        with pytest.raises(PlaceInUse, match="the connection one leads to this address already"):
            destinations.connect_receiver(bridge, LOCAL, secret_form(spelled), name="three", apart=True)
        assert [there.name for there in destinations.find_at(bridge, spelled, every(bridge))] == ["one"]
    # The same place in the open, with something beside it: as for any other address.
    with pytest.raises(PlaceInUse, match="connected already as one, with other credentials"):
        destinations.connect_receiver(bridge, LOCAL, basic_form(first), name="three")
    made = destinations.connect_receiver(bridge, LOCAL, basic_form(first), name="three", apart=True)
    assert made.apart
    assert destinations.list_shared(bridge, LOCAL).keys() == {made.id, stored(bridge, "one").id}


def test_what_an_earlier_version_stored_is_compared_too(bridge: Bridge, hooks: Hostile):
    with write_session(bridge.engine) as session:
        values = {"side": "destination", "kind": "endpoint", "name": "old", "url": f"{hooks.url}{PATH}"}
        sealed = bridge.vault.encrypt("an-old-token")
        session.add(Connection(created_at=bridge.clock.now(), secret=sealed, **values))  # type: ignore[arg-type]

    with pytest.raises(PlaceInUse, match="connected already as old, with other credentials"):
        destinations.connect_receiver(bridge, LOCAL, secret_form(f"{hooks.url}{PATH}"), name="hook")


def test_a_new_key_in_front_of_the_old_one_still_tells_one_place(home: Home, sandbox: Sandbox, hooks: Hostile):
    old, new = (home.path / "secret.key").read_text().strip(), Fernet.generate_key().decode()
    with home.bridge(allow_private_hosts=True, secret_key=old) as first:
        destinations.connect_receiver(first, LOCAL, secret_form(f"{hooks.url}{PATH}"), name="hook")

    with home.bridge(allow_private_hosts=True, secret_key=f"{new},{old}") as later, pytest.raises(PlaceInUse):
        destinations.connect_receiver(later, LOCAL, secret_form(f"{hooks.url}{PATH}"), name="second")


def every(bridge: Bridge) -> list[Connection]:
    return lookup.list_connections(bridge, LOCAL)


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("/hooks/abc123", ""),
        (f"/hooks/{SECRET}", "Zk41"),
        ("/a/very/long/way/to/x", ""),
        (f"/hook?key={SECRET}", "Zk41"),
    ],
)
def test_of_a_secret_address_the_end_is_shown_where_enough_of_it_stays_hidden(
    bridge: Bridge, hooks: Hostile, path: str, end: str
):
    made = destinations.connect_receiver(bridge, LOCAL, secret_form(f"{hooks.url}{path}"), name="hook")

    assert (made.secret_end, made.secret, made.url) == (end, None, hooks.url)
    assert receiver_for(bridge, made).url == f"{hooks.url}{path}"
    assert receiver_for(bridge, made).headers() == {}


def test_a_rotated_key_still_tells_two_places_from_one(bridge: Bridge, hooks: Hostile):
    first = f"{hooks.url}{PATH}"
    before = destinations.connect_receiver(bridge, LOCAL, secret_form(first), name="one")
    audited = len(audit_log.list_audit(bridge, LOCAL))

    key_rotation.rotate_key(bridge, LOCAL)

    after = stored(bridge, "one")
    assert after.address_hash != before.address_hash
    assert receiver_for(bridge, after).url == first
    newest = audit_log.list_audit(bridge, LOCAL)[: len(audit_log.list_audit(bridge, LOCAL)) - audited]
    assert "address_hash" not in repr(newest)
    with pytest.raises(PlaceInUse, match="one"):
        destinations.connect_receiver(bridge, LOCAL, secret_form(first), name="two", apart=True)
    destinations.connect_receiver(bridge, LOCAL, secret_form(f"{first}/other"), name="two")


def test_a_run_sees_that_another_secret_address_of_the_same_host_was_entered(
    bridge: Bridge, sandbox: Sandbox, home: Home
):
    receiver, moved = sandbox.receiver("secret-path"), sandbox.receiver("secret-path")
    made = destinations.connect_receiver(bridge, LOCAL, secret_form(receiver.url, member_key=receiver.key), name="hook")
    assert export(bridge, IMPORTED, to="hook").status == RunStatus.SUCCEEDED
    assert set(receiver.members(IMPORTED) or {}) == set(sandbox.answer(IMPORTED).group)

    changed = destinations.change_address(bridge, LOCAL, made.id or 0, secret_form(moved.url))

    # Which id is sent stays, and is written in full to the new place.
    assert (changed.member_key, changed.url) == (made.member_key, made.url)
    assert group_row(bridge, IMPORTED).in_doubt
    assert audit_log.list_audit(bridge, LOCAL)[0].action == "change_address"
    sandbox.at(LATER_S)
    assert export(bridge, IMPORTED, to="hook").write == "full"
    assert set(moved.members(IMPORTED) or {}) == set(sandbox.answer(IMPORTED).group)


def test_what_becomes_of_a_secret_address_when_something_else_signs_in(bridge: Bridge, hooks: Hostile):
    first = f"{hooks.url}{PATH}"
    made = destinations.connect_receiver(bridge, LOCAL, secret_form(first), name="hook")

    by_token = destinations.replace_sign_in(
        bridge, LOCAL, made.id or 0, ReceiverForm(SecretStr(""), sign_in="bearer", secret=SecretStr("a-token-0123456"))
    )

    # It was entered as a secret, and stays one.
    assert (by_token.sign_in, by_token.url, shown_address(by_token)) == ("bearer", hooks.url, f"{hooks.url}/…")
    assert receiver_for(bridge, by_token).url == first
    assert audit_log.list_audit(bridge, LOCAL)[0].action == "replace_sign_in"
    in_the_open = destinations.change_address(bridge, LOCAL, made.id or 0, basic_form(f"{hooks.url}/open"))
    assert (in_the_open.url, in_the_open.address) == (f"{hooks.url}/open", None)


def test_a_secret_address_stays_one_whatever_signs_in_there_since(bridge: Bridge, home: Home, hooks: Hostile):
    made = destinations.connect_receiver(bridge, LOCAL, secret_form(f"{hooks.url}{PATH}"), name="hook")

    taken_over = destinations.connect_receiver(bridge, LOCAL, basic_form(f"{hooks.url}{PATH}/"), name="hook")
    changed = destinations.change_address(bridge, LOCAL, made.id or 0, basic_form(f"{hooks.url}{PATH}", "another-one"))

    assert [(row.sign_in, row.url) for row in (taken_over, changed)] == [("basic", hooks.url)] * 2
    assert receiver_for(bridge, changed).url == f"{hooks.url}{PATH}"
    assert_hidden(bridge, home.path, [audit_text(bridge)])


def test_a_removed_connection_keeps_neither_address_nor_hash(bridge: Bridge, hooks: Hostile):
    made = destinations.connect_receiver(bridge, LOCAL, secret_form(f"{hooks.url}{PATH}"), name="hook")

    removal.remove_connection(bridge, LOCAL, made.id or 0)

    with read_session(bridge.engine) as session:
        gone = session.get_one(Connection, made.id)
        assert (gone.address, gone.address_hash, gone.secret_end) == (None, "", "")
    with pytest.raises(SecretKeyLost):
        receiver_for(bridge, gone)
    destinations.connect_receiver(bridge, LOCAL, secret_form(f"{hooks.url}{PATH}"), name="another")
