"""Checks of what is entered of a receiver, a field at a time; what is refused is refused at its field."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import SecretStr

from core.connections.secrets import checked_secret
from core.errors import SettingsError
from core.rules.matching import DISTINCT_PROPERTY
from core.rules.personal_properties import require_impersonal
from core.validation import clean_exact_line, clean_line
from core.vendors.receiver import DISTINCT_KEY
from data.models import MemberId, SignInKind

# How the form calls what signs in, where that is a secret beside the address.
SECRET_LABELS = {
    SignInKind.APPTIMIZE: "Token",
    SignInKind.BASIC: "Password",
    SignInKind.BEARER: "Token",
    SignInKind.HEADER: "Header's value",
}
_HINTS = {
    SignInKind.APPTIMIZE: "Make one on Apptimize's Tokens page: New token, a name, Generate.",
    SignInKind.BASIC: "It is made where the receiver makes its user names.",
    SignInKind.BEARER: "It is made where the receiver makes its tokens.",
    SignInKind.HEADER: "It is made where the receiver says which header it asks for.",
}
_LONGEST_ADDRESS, _LONGEST_HEADER = 2000, 100
_LINE_BREAK = re.compile(r"[\r\n]")
# What the name of a header may hold (RFC 9110, token).
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Headers that say how a message travels, what it holds or who passes it on: the transport, a proxy or this program
# sets them, or a server acts on them before it looks at who sends.
_OWNED = frozenset(
    {
        *("host", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect", "date", "via"),
        *("accept", "cookie", "cookie2", "forwarded", "from", "http2-settings", "max-forwards", "origin", "priority"),
        *("range", "referer", "set-cookie", "user-agent", "warning", "age", "cache-control", "pragma", "server"),
    }
)
_OWNED_BEGINNINGS = ("content-", "proxy-", "accept-", "access-control-", "if-", "sec-", "x-forwarded-", ":")


def checked_address(url: str) -> str:
    """Return an address as it is stored: what follows a #, which is never sent, is none of it. Raises SettingsError."""
    return clean_line(url, "Endpoint", most=_LONGEST_ADDRESS).partition("#")[0]


def checked_kind(sign_in: str) -> SignInKind:
    """Return how a receiver is signed in to. Raises SettingsError."""
    try:
        return SignInKind(sign_in)
    except ValueError:
        raise SettingsError("Sign-in: choose one of those that are offered.") from None


def checked_sign_in_name(sign_in: SignInKind, name: str) -> str:
    """Return the user name, or the name of the header, where a sign-in has one. Raises SettingsError."""
    if sign_in is SignInKind.BASIC:
        return _checked_user_name(name)
    return _checked_header(name) if sign_in is SignInKind.HEADER else ""


def _checked_user_name(name: str) -> str:
    _refuse_line_break(name, "User name")
    user = clean_exact_line(name, "User name")
    if ":" in user:
        raise SettingsError("User name: it cannot hold a colon.", advice="What follows a colon would be the password.")
    _require_ascii(user, "User name")
    return user


def _checked_header(name: str) -> str:
    _refuse_line_break(name, "Header")
    header = clean_line(name, "Header", most=_LONGEST_HEADER)
    if not _TOKEN.fullmatch(header):
        raise SettingsError("Header: letters, digits and hyphens only, such as X-Api-Key, without a colon behind it.")
    small = header.lower()
    if small in _OWNED or small.startswith(_OWNED_BEGINNINGS):
        raise SettingsError(
            f"Header: {header} is not one that signs in.", advice="Enter the header that the receiver asks for."
        )
    return header


def checked_receiver_secret(sign_in: SignInKind, secret: SecretStr) -> str:
    """Return what signs in beside the address, if anything does. Raises SettingsError, which never holds it."""
    if sign_in is SignInKind.ADDRESS:
        return ""
    label = SECRET_LABELS[sign_in]
    text = checked_secret(secret, label, _HINTS[sign_in])
    if sign_in is SignInKind.BEARER and " " in text:
        raise SettingsError(f"{label}: it holds a blank.", advice="Leave out the word Bearer: it is sent before it.")
    return text


def checked_member_id(member_id: str) -> MemberId:
    """Return which id a receiver knows people by. Raises SettingsError."""
    try:
        return MemberId(member_id)
    except ValueError:
        raise SettingsError("Member id: choose one of those that are offered.") from None


def checked_member_property(member_id: MemberId, name: str) -> str:
    """Return the profile property that holds the id, where it is one of the profile. Raises SettingsError."""
    if member_id is not MemberId.PROPERTY:
        return ""
    _refuse_line_break(name, "Member property")
    checked = clean_exact_line(name, "Member property")
    require_impersonal(checked, "Member property")
    if checked == DISTINCT_PROPERTY:
        raise SettingsError(
            f"Member property: {checked} is the distinct id, not a property.",
            advice="Choose the distinct id as the one that the receiver knows people by.",
        )
    return checked


def checked_member_key(member_id: MemberId, key: str, *, usual: str) -> str:
    """Return what an id is sent under, empty where that is the usual key. Raises SettingsError."""
    _refuse_line_break(key, "Member key")
    checked = clean_exact_line(key, "Member key") if key.strip() else usual
    if checked == DISTINCT_KEY and member_id is not MemberId.DISTINCT:
        raise SettingsError(
            f"Member key: {DISTINCT_KEY} is the distinct id's.",
            advice="Enter another key, or choose the distinct id as the one that the receiver knows people by.",
        )
    return "" if checked == usual else checked


def host_of(address: str) -> str:
    """Return of an address what is no secret: scheme, host and port."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def last_part(address: str) -> str:
    """Return the last part of an address's path or query: what is most likely the secret of it."""
    parts = urlsplit(address)
    return re.split(r"[/?&=]", f"{parts.path}?{parts.query}".rstrip("/?&="))[-1]


def _refuse_line_break(text: str, field: str) -> None:
    """Refuse a line break wherever it stands: at an end it would be taken for a blank."""
    if _LINE_BREAK.search(text):
        raise SettingsError(f"{field}: it holds a line break.")


def _require_ascii(text: str, field: str) -> None:
    if not text.isascii():
        raise SettingsError(
            f"{field}: letters, digits and signs of ASCII only.",
            advice="Others are read differently by one server and the next (RFC 7617).",
        )
