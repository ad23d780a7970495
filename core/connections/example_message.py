"""The example that the form of a receiver shows: a message as it would be sent, with nothing of a secret."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from core.connections.receiver_form import ReceiverForm, usual_key
from core.text import SURROGATE, harmless, shown
from core.vendors.cohort_sync import build_message
from core.vendors.delivery import Target
from core.vendors.receiver import DISTINCT_KEY, Receiver
from data.members.members_json import as_json
from data.models import Member, MemberId, SignInKind

_DOTS = "••••"
_COHORT = Target(
    project_id=1234567, cohort_id=7654321, cohort_name="Example cohort", group_name="Example cohort",
    description="Two people who are made up",
)  # fmt: skip
_SESSION = "5b1f6f0e-4c1d-4a52-9f0a-6d2f3b8a7c10"
_PEOPLE = ("user-1001", "user-1002")
# How the id of a member begins that is made up from a distinct id.
_BEGINNINGS = {MemberId.APPTIMIZE: "i_", MemberId.DISTINCT: "", MemberId.PROPERTY: "example-"}
_INNERMOST, _LINE_BREAK = re.compile(r"\{[^{}]*\}"), re.compile(r"\n\s*")


class ExampleMessage(NamedTuple):
    """A message as text: the line that says where it goes, its headers, and its body, indented for reading."""

    request: str
    headers: dict[str, str]
    body: str

    def __str__(self) -> str:
        """Format it as it travels."""
        headers = "\n".join(f"{name}: {value}" for name, value in self.headers.items())
        return f"{self.request}\n{headers}\n\n{self.body}"


def example_message(form: ReceiverForm) -> ExampleMessage:
    """Make the message that overwrites a group of two made-up people, as it would be sent to this receiver.

    The same code makes it that makes the real ones. What was entered need not be right yet.
    """
    member_id = MemberId(form.member_id)
    key = form.member_key.strip() or usual_key(member_id, form.member_property.strip()) or "…"
    members = [Member(f"{_BEGINNINGS[member_id]}{person}", person) for person in _PEOPLE]
    text = as_json(members, distinct_id=DISTINCT_KEY, apptimize_id=SURROGATE.sub("\ufffd", key))
    body = build_message("members", _COHORT, _SESSION, text, page=1, pages=1)
    return ExampleMessage(
        f"POST {_shown_address(form)}",
        {**_shown_headers(form), "Content-Type": "application/json"},
        harmless(_indented(body), keep="\n"),
    )


def _indented(body: bytes) -> str:
    """Indent a message for reading; what holds no object within stands in one line."""
    text = msgspec.json.format(body, indent=2).decode()
    return _INNERMOST.sub(lambda found: _LINE_BREAK.sub(" ", found[0]), text)


def _shown_headers(form: ReceiverForm) -> dict[str, str]:
    """Return what signs in, with dots where the secret would be: no part of that is looked at."""
    sign_in = SignInKind(form.sign_in)
    name = form.sign_in_name.strip() or "…"
    headers = Receiver("", sign_in=sign_in, sign_in_name=name).headers()
    scheme = {SignInKind.BASIC: "Basic ", SignInKind.BEARER: "Bearer "}.get(sign_in, "")
    return {shown(header): f"{scheme}{_DOTS}" for header in headers}


def _shown_address(form: ReceiverForm) -> str:
    """Return the address without what may be secret in it; of what is none nothing."""
    try:
        parts = urlsplit(form.url.get_secret_value().strip())
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return "https://…"
    path = "/…" if form.sign_in == SignInKind.ADDRESS else parts.path
    return shown(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}") if is_address else "https://…"
