"""Lists that hold odd entries too: only who asks for such an entry fails, and what is missing is said."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from core.access.roles import LOCAL
from core.clock import Clock
from core.connections import lookup, service_accounts
from core.syncs import cohorts, recurring
from core.vendors.http import connect_http
from core.worker import service
from data.models import MIXPANEL_SIDE
from tests.stage.home import Home, export
from tests.stage.sandbox import POWER, Sandbox

NAMELESS, AS_TEXT = 901, 902


def test_an_odd_entry_stops_no_sync_of_another_cohort(sandbox: Sandbox, home: Home):
    sandbox.fault("list_odd")

    with home.bridge() as bridge:
        recurring.add_sync(bridge, LOCAL, POWER)
        asyncio.run(service.Worker(bridge).once())
        run = export(bridge, NAMELESS)

        assert sandbox.group(POWER) == sandbox.answer(POWER).group
        assert (run.status, run.error_code) == ("failed", "mixpanel_odd_cohort")
        assert "“name”" in (run.error_message or "")
        assert run.error_advice
        assert cohorts.count_cohorts_left_out(bridge, LOCAL) == 2


def test_a_cohort_that_is_not_listed_is_not_called_unknown_while_entries_cannot_be_read(sandbox: Sandbox, home: Home):
    with home.bridge() as bridge:
        unknown = export(bridge, 903)
        sandbox.fault("list_odd")
        unsure = export(bridge, 903)

    assert (unknown.error_code, unsure.error_code) == ("cohort_unknown", "mixpanel_odd_cohort")
    assert "but 2 without" in (unsure.error_message or "")


def test_the_command_lists_what_can_be_read_and_says_what_is_missing(sandbox: Sandbox, home: Home):
    sandbox.fault("list_odd")

    done, as_text = home.run("cohorts", "--json"), home.run("cohorts")

    listed = {cohort["id"]: cohort for cohort in done.json}
    assert len(listed) == 12
    assert not listed[NAMELESS]["exportable"]
    assert "“name”" in listed[NAMELESS]["reason"]
    assert (listed[AS_TEXT]["exportable"], listed[AS_TEXT]["count"], listed[AS_TEXT]["is_visible"]) == (True, 3, True)
    assert ": 2." in done.err
    assert ": 2." in as_text.err
    assert "Power users" in as_text.out


def test_an_account_is_known_among_odd_ones(sandbox: Sandbox, home: Home):
    sandbox.fault("list_odd", target="app")

    with home.bridge() as bridge:
        tomorrow = replace(bridge, clock=Clock(now=lambda: bridge.clock.now() + timedelta(days=1, seconds=60)))

        async def ask() -> int:
            async with connect_http() as http:
                return await service_accounts.check_due(tomorrow, http)

        assert asyncio.run(ask()) == 1
        connection = next(
            connection for connection in lookup.list_connections(bridge, LOCAL) if connection.side == MIXPANEL_SIDE
        )
        assert connection.account_trouble is None
        assert sandbox.struck("list_odd") == 1
