"""What is entered to connect a receiver of cohort-sync messages, and what is stored of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import SecretStr

from core.bridge import Bridge
from core.vendors.receiver import APPTIMIZE_KEY, DISTINCT_KEY, Receiver
from data.models import Connection, MemberId, SignInKind


@dataclass(frozen=True)
class ReceiverForm:
    """What is entered of a receiver. `url` is a secret of its own where nothing beside it signs in.

    `member_key` empty: as usual for the id. `member_property` only for an id that is another property of profiles.
    """

    url: SecretStr
    sign_in: str = SignInKind.APPTIMIZE
    secret: SecretStr = field(default_factory=lambda: SecretStr(""))
    sign_in_name: str = ""
    member_id: str = MemberId.APPTIMIZE
    member_property: str = ""
    member_key: str = ""
    adds_only: bool = False


def usual_key(member_id: str, member_property: str = "") -> str:
    """Return what an id is sent under, where nothing else was entered."""
    if member_id == MemberId.DISTINCT:
        return DISTINCT_KEY
    return member_property if member_id == MemberId.PROPERTY else APPTIMIZE_KEY


def receiver_for(bridge: Bridge, connection: Connection) -> Receiver:
    """Build the receiver that an endpoint connection leads to. Raises SecretKeyLost."""
    decrypt = bridge.vault.decrypt
    return Receiver(
        url=decrypt(connection.address) if connection.address else connection.url,
        secret=decrypt(connection.secret) if connection.secret else "",
        sign_in=SignInKind(connection.sign_in),
        sign_in_name=connection.sign_in_name,
        member_key=connection.member_key or usual_key(connection.member_id, connection.member_property),
        adds_only=connection.adds_only,
    )
