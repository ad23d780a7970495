"""The service account's role in Mixpanel: asked about once a day, and the connection is marked when it was lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr

from core.access import audit_log
from core.access.roles import LOCAL
from core.bridge import Bridge
from core.clock import Clock
from core.connections import lookup, mixpanel_connection, service_accounts
from core.sandbox import people
from core.vendors.http import connect_http
from data.connections import AccountCheck
from data.models import MIXPANEL_SIDE, Connection
from tests.stage.home import Home
from tests.stage.sandbox import Sandbox

TOMORROW_S = 24 * 3600 + 60.0


def check(bridge: Bridge) -> int:
    async def ask() -> int:
        async with connect_http() as http:
            return await service_accounts.check_due(bridge, http)

    return asyncio.run(ask())


def connection(bridge: Bridge) -> Connection:
    return next(row for row in lookup.list_connections(bridge, LOCAL) if row.side == MIXPANEL_SIDE)


def later(bridge: Bridge, seconds: float) -> Bridge:
    """The same home, so many seconds later."""
    return replace(bridge, clock=Clock(now=lambda: bridge.clock.now() + timedelta(seconds=seconds)))


def become(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """Change what the sandbox's project says of the account that is connected."""
    accounts = [
        replace(account, **changes) if account.username == people.ADMIN_USERNAME else account  # type: ignore[arg-type]
        for account in people.ACCOUNTS
    ]
    monkeypatch.setattr(people, "ACCOUNTS", accounts)


def test_an_account_is_asked_about_once_a_day_by_whichever_worker(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        assert check(bridge) == 0
        tomorrow = later(bridge, TOMORROW_S)

        assert (check(tomorrow), check(tomorrow)) == (1, 0)

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
        tomorrow = later(bridge, TOMORROW_S)
        with monkeypatch.context() as lost:
            become(lost, **changes)
            check(tomorrow)
        assert sentence in (connection(bridge).account_trouble or "")
        line = audit_log.list_audit(bridge, LOCAL, limit=1)[0]
        assert (line.who, line.action) == ("worker", "check_service_account")

        check(later(tomorrow, TOMORROW_S))

        assert connection(bridge).account_trouble is None


def test_a_mixpanel_that_is_down_proves_nothing_and_is_asked_again_in_an_hour(sandbox: Sandbox, home: Home):
    sandbox.fault("server_error", target="app")
    with home.bridge() as bridge:
        tomorrow = later(bridge, TOMORROW_S)
        assert (check(tomorrow), check(tomorrow)) == (1, 0)
        assert connection(bridge).account_trouble is None

        sandbox.clear_faults()
        assert check(later(tomorrow, 3601)) == 1


def test_an_account_that_expires_soon_is_announced(sandbox: Sandbox, home: Home, monkeypatch: pytest.MonkeyPatch):
    with home.bridge() as bridge:
        now = bridge.clock.now()
        assert not service_accounts.expires_soon(connection(bridge), now)
        become(monkeypatch, expires=(now + timedelta(days=10)).isoformat())
        tomorrow = later(bridge, TOMORROW_S)
        check(tomorrow)

        assert service_accounts.expires_soon(connection(bridge), tomorrow.clock.now())
        assert connection(bridge).account_trouble is None


def test_a_connection_that_was_entered_again_meanwhile_is_not_marked(sandbox: Sandbox, home: Home):
    with home.bridge(mixpanel_url=sandbox.url) as bridge:
        before = connection(bridge)
        form = mixpanel_connection.MixpanelForm(
            people.OWNER_USERNAME, SecretStr(people.OWNER_SECRET), people.PROJECT_ID
        )
        mixpanel_connection.connect_mixpanel(bridge, LOCAL, form)

        service_accounts.record(bridge, before, AccountCheck("The service account was deleted."))

        assert connection(bridge).account_trouble is None
