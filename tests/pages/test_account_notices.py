"""A service account that lost its role, or expires soon: said on every page, and marked on Connections."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import select

from core.bridge import Bridge
from data.engine import write_session
from data.models import Connection, ConnectionKind
from tests.pages.dashboard import CONNECTIONS, GROUPS, OVERVIEW, open_page, shown


def mark(bridge: Bridge, **values: object) -> None:
    with write_session(bridge.engine) as session:
        connection = session.exec(select(Connection).where(Connection.kind == ConnectionKind.MIXPANEL)).one()
        for name, value in values.items():
            setattr(connection, name, value)


@pytest.mark.parametrize("page", [OVERVIEW, GROUPS, CONNECTIONS])
def test_a_lost_role_is_said_everywhere(practising: Bridge, page: str):
    mark(
        practising, account_trouble="The service account has the project role analyst; connecting needs admin or owner."
    )

    text = shown(open_page(page))

    assert "Mixpanel no longer accepts the connection default" in text
    assert text.count("has the project role analyst") == 1
    assert (":material/error: Not accepted" in text) == (page == CONNECTIONS)


@pytest.mark.parametrize(("days", "said"), [(13, True), (-1, True), (15, False)])
def test_an_account_that_expires_soon_is_announced(practising: Bridge, days: int, said: bool):
    mark(practising, account_expires_at=practising.clock.now() + timedelta(days=days))

    for page in (OVERVIEW, CONNECTIONS):
        assert ("The service account of default expires on" in shown(open_page(page))) == said
