"""What a person is told when a receiver of cohort-sync messages refuses, fails or does not answer."""

from __future__ import annotations

from core.errors import VendorAuthFailed, VendorRefused, VendorUnavailable
from core.vendors.intake import Sender
from core.vendors.receiver import Receiver
from data.models import SignInKind

_APPTIMIZE_ADVICE = "Ask an admin to check the Apptimize connection on the Connections page."
_OTHER_ADVICE = "Ask an admin to check this destination on the Connections page."
_MAYBE_ELSEWHERE = "The address may lead to something else than a cohort-sync endpoint."
_APPTIMIZE = Sender(
    "the Apptimize endpoint",
    "apptimize",
    unconnected="The connection to the Apptimize endpoint broke.",
    unreadable="The Apptimize endpoint did not confirm the message in the documented form.",
    unreadable_advice=f"{_APPTIMIZE_ADVICE} {_MAYBE_ELSEWHERE}",
)
_OTHER = Sender(
    "the receiver",
    "receiver",
    unconnected="The connection to the receiver broke.",
    unreadable="The receiver did not confirm the message in the documented form.",
    unreadable_advice=f"{_OTHER_ADVICE} {_MAYBE_ELSEWHERE}",
)
# What is not accepted of who sends: when it is entered, behind the field's label, and when groups are delivered.
_NOT_ACCEPTED = {
    SignInKind.APPTIMIZE: ("Token: the endpoint does not accept it.", "the token"),
    SignInKind.BASIC: ("Password: the receiver does not accept it for this user name.", "the user name and password"),
    SignInKind.BEARER: ("Token: the receiver does not accept it.", "the token"),
    SignInKind.HEADER: ("Header's value: the receiver does not accept it in this header.", "the header's value"),
    SignInKind.ADDRESS: ("Endpoint: the receiver does not accept messages at this address.", "messages at its address"),
}
_MAKE_TOKEN = "Make a new one on Apptimize's Tokens page: New token, a name, Generate."  # noqa: S105  (a sentence)
_LOOK_AT_RECEIVER = (
    "Look in the receiver's own settings for how cohort-sync messages are signed in, and enter it again."
)


def sender_for(receiver: Receiver) -> Sender:
    """Return as whose answers those of a receiver come in."""
    return _APPTIMIZE if receiver.is_apptimize else _OTHER


def _name(receiver: Receiver) -> str:
    name = sender_for(receiver).name
    return f"{name[0].upper()}{name[1:]}"


def failed(receiver: Receiver, status: int, *, retry_after_s: float | None) -> VendorUnavailable:
    """Build the error of an answer that may be another one later."""
    return VendorUnavailable(
        f"{_name(receiver)} answered with an error of its own ({status}).",
        code=f"{sender_for(receiver).codes}_unavailable",
        status=status,
        retry_after_s=retry_after_s,
    )


def refused(receiver: Receiver, status: int, *, kind: type[VendorRefused] = VendorRefused) -> VendorRefused:
    """Build the error of a message that will be refused again."""
    codes = sender_for(receiver).codes
    if status in (401, 403):
        advice = "Make a new token on Apptimize's Tokens page, and enter it on the Connections page."
        return VendorAuthFailed(
            f"{_name(receiver)} does not accept {_NOT_ACCEPTED[receiver.sign_in][1]}.",
            advice=advice if receiver.is_apptimize else f"{_OTHER_ADVICE} Replace its sign-in there.",
            code=f"{codes}_unauthorized",
            status=status,
        )
    return kind(
        f"{_name(receiver)} refused the message ({status}).",
        advice=_APPTIMIZE_ADVICE if receiver.is_apptimize else _OTHER_ADVICE,
        code=f"{codes}_refused",
        status=status,
    )


def not_accepted(receiver: Receiver, status: int) -> VendorAuthFailed:
    """Build the error of a sign-in that was just entered; it names the field."""
    return VendorAuthFailed(
        _NOT_ACCEPTED[receiver.sign_in][0],
        advice=_MAKE_TOKEN if receiver.is_apptimize else _LOOK_AT_RECEIVER,
        code=f"{sender_for(receiver).codes}_unauthorized",
        status=status,
    )


def not_reached(receiver: Receiver) -> VendorUnavailable:
    """Build the error of an address that was just entered, and where nothing answers."""
    return VendorUnavailable(
        "Endpoint: nothing answers at this address.",
        advice="Check the address, and that this machine may reach it.",
        code=f"{sender_for(receiver).codes}_unreachable",
    )
