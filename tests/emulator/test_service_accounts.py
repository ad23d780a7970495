"""The service account's standing in Mixpanel: asked about once a day, and the connection is marked when it was lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr

from core.access import audit_log
from core.access.roles import LOCAL
from core.bridge import Bridge
from core.connections import connect, lookup, service_accounts
from core.sandbox import people
from core.vendors.http import connect_http
from data import models
from data.models import Connection, utc_now
from tests.emulator.stage import Home, Sandbox

TOMORROW_S = 24 * 3600 + 60.0


def check(bridge: Bridge) -> int:
    async def ask() -> int:
        async with connect_http() as http:
            return await service_accounts.check_due(bridge, http)

    return asyncio.run(ask())


def connection(bridge: Bridge) -> Connection:
    return next(one for one in lookup.list_connections(bridge, LOCAL) if one.side == connect.MIXPANEL_SIDE)


def move_on(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    before = models.wall_s
    monkeypatch.setattr(models, "wall_s", lambda: before() + seconds)


def become(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """Change what the sandbox's project says of the account that is connected."""
    accounts = [
        replace(one, **changes) if one.username == people.ADMIN_USERNAME else one  # type: ignore[arg-type]
        for one in people.ACCOUNTS
    ]
    monkeypatch.setattr(people, "ACCOUNTS", accounts)


def test_an_account_is_asked_about_once_a_day_whoever_asks(
    sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch
):
    with home.bridge() as bridge:
        assert check(bridge) == 0
        move_on(monkeypatch, TOMORROW_S)

        assert (check(bridge), check(bridge)) == (1, 0)

        assert len(sandbox.asked("app")) == 1
        assert connection(bridge).account_trouble is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"role": "analyst"}, "The service account is not an admin of this Mixpanel project."),
        ({"secret": "changed-by-somebody"}, "does not accept the service account's username and secret"),
    ],
)
def test_a_role_that_was_lost_marks_the_connection_and_comes_back_with_it(
    sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], sentence: str
):
    with home.bridge() as bridge:
        move_on(monkeypatch, TOMORROW_S)
        with monkeypatch.context() as lost:
            become(lost, **changes)
            check(bridge)
        assert sentence in (connection(bridge).account_trouble or "")
        line = audit_log.list_audit(bridge, LOCAL, limit=1)[0]
        assert (line.who, line.action) == ("worker", "check_service_account")

        move_on(monkeypatch, TOMORROW_S)
        check(bridge)

        assert connection(bridge).account_trouble is None


def test_a_mixpanel_that_is_down_proves_nothing_and_is_asked_again_in_an_hour(
    sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch
):
    sandbox.fault("server_error", target="app")
    with home.bridge() as bridge:
        move_on(monkeypatch, TOMORROW_S)
        assert (check(bridge), check(bridge)) == (1, 0)
        assert connection(bridge).account_trouble is None

        sandbox.mend()
        move_on(monkeypatch, 3601)
        assert check(bridge) == 1


def test_an_account_that_expires_soon_is_announced(sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch):
    soon = utc_now() + timedelta(days=10)
    with home.bridge() as bridge:
        assert not service_accounts.expires_soon(connection(bridge))
        move_on(monkeypatch, TOMORROW_S)
        become(monkeypatch, expires=soon.isoformat())
        check(bridge)

        assert service_accounts.expires_soon(connection(bridge))
        assert connection(bridge).account_trouble is None


def test_a_connection_that_was_entered_anew_meanwhile_is_not_marked(
    sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch
):
    with home.bridge(mixpanel_url=sandbox.url) as bridge:
        before = connection(bridge)
        form = connect.MixpanelForm(people.OWNER_USERNAME, SecretStr(people.OWNER_SECRET), people.PROJECT_ID)
        connect.connect_mixpanel(bridge, LOCAL, form)

        service_accounts._mark(bridge, before, trouble="The service account was deleted.", account=None)

        assert connection(bridge).account_trouble is None
