"""What is entered to connect a receiver of cohort-sync messages, and what is stored of it."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import SecretStr

from core.bridge import Bridge
from core.connections import receiver_checks as checks
from core.connections.secrets import sealed, shown_end
from core.rules.matching import APPTIMIZE_PROPERTY, DISTINCT_PROPERTY
from core.vendors.receiver import APPTIMIZE_HEADER, APPTIMIZE_KEY, DISTINCT_KEY, Receiver
from data.models import Connection, MemberId, SignInKind

# How what signs in is called by whoever writes it down, and what all members that are sent do: `connect`, and files.
SIGN_IN_WORDS = {
    "token": SignInKind.APPTIMIZE,
    "basic": SignInKind.BASIC,
    "bearer": SignInKind.BEARER,
    "header": SignInKind.HEADER,
    "none": SignInKind.ADDRESS,
}
MEMBERS_WORDS = {"replaces": False, "adds": True}


def sign_in_word(sign_in: str) -> str:
    """Return what signs in, as it is written down."""
    return next(word for word, kind in SIGN_IN_WORDS.items() if kind == sign_in)


def members_word(*, adds_only: bool) -> str:
    """Return what all members that are sent do, as it is written down."""
    return next(word for word, adds in MEMBERS_WORDS.items() if adds == adds_only)


# Columns of a connection that only an endpoint has: of a folder they are empty.
NO_RECEIVER: dict[str, Any] = {
    "address": None,
    "sign_in": SignInKind.APPTIMIZE,
    "sign_in_name": "",
    "member_id": MemberId.APPTIMIZE,
    "member_property": "",
    "member_key": "",
    "adds_only": False,
}


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


def member_id_of(property_name: str) -> tuple[MemberId, str]:
    """Return which id a property of profiles holds, and its name where that is not said by the id."""
    kinds = {APPTIMIZE_PROPERTY: MemberId.APPTIMIZE, DISTINCT_PROPERTY: MemberId.DISTINCT}
    kind = kinds.get(property_name, MemberId.PROPERTY)
    return kind, property_name if kind is MemberId.PROPERTY else ""


def property_of(member_id: str, member_property: str) -> str:
    """Return the property of profiles that holds an id."""
    kinds = {MemberId.APPTIMIZE: APPTIMIZE_PROPERTY, MemberId.DISTINCT: DISTINCT_PROPERTY}
    return kinds.get(MemberId(member_id), member_property)


def usual_key(member_id: str, member_property: str = "") -> str:
    """Return what an id is sent under, where nothing else was entered."""
    if member_id == MemberId.DISTINCT:
        return DISTINCT_KEY
    return member_property if member_id == MemberId.PROPERTY else APPTIMIZE_KEY


def receiver_for(bridge: Bridge, connection: Connection) -> Receiver:
    """Build the receiver that an endpoint connection leads to. Raises SecretKeyLost."""
    decrypt = bridge.vault.decrypt
    sign_in = SignInKind(connection.sign_in)
    is_beside = sign_in is not SignInKind.ADDRESS
    is_hidden = connection.address is not None or not is_beside
    return Receiver(
        url=decrypt(connection.address) if is_hidden else connection.url,
        secret=decrypt(connection.secret) if is_beside else "",
        sign_in=sign_in,
        sign_in_name=connection.sign_in_name,
        member_key=connection.member_key or usual_key(connection.member_id, connection.member_property),
        adds_only=connection.adds_only,
    )


def full_address(bridge: Bridge, connection: Connection) -> str:
    """Return where an endpoint leads. Raises SecretKeyLost where that is sealed, and no key opens it."""
    return bridge.vault.decrypt(connection.address) if connection.address else connection.url


def checked(form: ReceiverForm) -> ReceiverForm:
    """Return the form as it is stored, each field checked. Raises SettingsError naming the field."""
    return checked_members(checked_sign_in(form))


def checked_sign_in(form: ReceiverForm) -> ReceiverForm:
    """Check where a receiver is, and how it is signed in to; what that does not need is left out.

    Raises SettingsError naming the field.
    """
    sign_in = checks.checked_kind(form.sign_in)
    name = checks.checked_sign_in_name(sign_in, form.sign_in_name)
    secret = checks.checked_receiver_secret(sign_in, form.secret)
    url = checks.checked_address(form.url.get_secret_value())
    sign_in, name, secret = _plainest(sign_in, name, secret)
    return replace(form, url=SecretStr(url), sign_in=sign_in, sign_in_name=name, secret=SecretStr(secret))


def checked_members(form: ReceiverForm) -> ReceiverForm:
    """Check which id a receiver is sent, and under which key. Raises SettingsError naming the field."""
    member_id = checks.checked_member_id(form.member_id)
    member_property = checks.checked_member_property(member_id, form.member_property)
    key = checks.checked_member_key(member_id, form.member_key, usual=usual_key(member_id, member_property))
    return replace(form, member_id=member_id, member_property=member_property, member_key=key)


def _plainest(sign_in: SignInKind, name: str, secret: str) -> tuple[SignInKind, str, str]:
    """Return a sign-in as the kind that it is, where it was entered as a header of one's own.

    What is sent is the same: two that send it are one destination.
    """
    if sign_in is not SignInKind.HEADER:
        return sign_in, name, secret
    if name.lower() == APPTIMIZE_HEADER.lower():
        return SignInKind.APPTIMIZE, "", secret
    scheme, _, credentials = secret.partition(" ")
    if name.lower() != "authorization" or not credentials or " " in credentials:
        return sign_in, name, secret
    if scheme.lower() == "bearer":
        return SignInKind.BEARER, "", credentials
    pair = _opened(credentials) if scheme.lower() == "basic" else None
    return (SignInKind.BASIC, *pair) if pair else (sign_in, name, secret)


def _opened(credentials: str) -> tuple[str, str] | None:
    """Return the user name and password of Basic credentials; None where they are not what this program would send."""
    try:
        user, colon, password = base64.b64decode(credentials, validate=True).decode("ascii").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    is_usual = colon and user == user.strip() != "" and password == password.strip() != ""
    return (user, password) if is_usual and f"{user}{password}".isprintable() else None


def sign_in_values(bridge: Bridge, form: ReceiverForm, *, practice: bool, is_hidden: bool = False) -> dict[str, Any]:
    """Return what is stored of a checked sign-in, by column; the address is hidden too where it was hidden before."""
    url, is_secret = form.url.get_secret_value(), form.sign_in == SignInKind.ADDRESS
    values = sealed(bridge, "secret", form.secret.get_secret_value())
    if is_secret:
        values["secret_end"] = shown_end(checks.last_part(url))
    return {
        **values,
        "folder": "",
        "practice": practice,
        "url": checks.host_of(url) if is_secret or is_hidden else url,
        "address": bridge.vault.encrypt(url) if is_secret or is_hidden else None,
        "sign_in": form.sign_in,
        "sign_in_name": form.sign_in_name,
    }


def member_values(form: ReceiverForm) -> dict[str, Any]:
    """Return what is stored of which id a receiver is sent, by column."""
    return {name: getattr(form, name) for name in ("member_id", "member_property", "member_key", "adds_only")}


def shown_address(connection: Connection) -> str:
    """Return where an endpoint leads as it may be shown: of an address that is a secret the host, and no query."""
    return f"{connection.url}/…" if connection.address else connection.url.partition("?")[0].partition("#")[0]
