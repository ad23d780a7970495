"""Homes whose destination is a receiver of the sandbox that only adds."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import pytest
from sqlmodel import select

from core.bridge import Bridge
from core.vendors import cohort_sync
from data.engine import write_session
from data.models import DESTINATION_SIDE, Connection, SignInKind
from tests.stage.receivers import Receiver

DESTINATION = "default"


def lead_to(bridge: Bridge, receiver: Receiver, name: str = DESTINATION) -> None:
    """Let a destination lead to a receiver, as if it had been connected that way from the first."""
    with write_session(bridge.engine) as session:
        connection = session.exec(
            select(Connection).where(Connection.side == DESTINATION_SIDE, Connection.name == name)
        ).one()
        connection.url, connection.sign_in, connection.sign_in_name = receiver.url, SignInKind.BASIC, receiver.username
        connection.secret = bridge.vault.encrypt(receiver.secret)
        connection.member_key, connection.adds_only = receiver.key, not receiver.replaces


@contextmanager
def messages_of(members: int) -> Generator[None]:
    """Let a message hold so few members that a small cohort takes several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cohort_sync, "_MESSAGE_MEMBERS", members)
        yield
