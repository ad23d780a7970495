"""Words and values that the screens of connections share."""

from __future__ import annotations

from core.connections.receiver_form import shown_address
from core.connections.trial import TEST_COHORT_ID, TEST_NAME
from core.rules.matching import APPTIMIZE_PROPERTY, USER_PROPERTY, IdMerge
from core.vendors.receiver import APPTIMIZE_KEY, DISTINCT_KEY
from data.models import Connection, ConnectionKind, MemberId, SignInKind

REGIONS = {"us": "United States", "eu": "European Union", "in": "India"}
MERGES = {
    IdMerge.ORIGINAL.value: (
        "Original",
        f"Users are matched by the profile property `{APPTIMIZE_PROPERTY}`, which the two SDKs set together.",
    ),
    IdMerge.SIMPLIFIED.value: (
        "Simplified",
        f"Users are matched by `{USER_PROPERTY}`, which must be the id that Apptimize knows them by.",
    ),
}
OTHER_PROPERTY = (
    "This is a Simplified project that is matched on a property other than `$user_id`. Events that Apptimize sends "
    "back to Mixpanel may not be attributed to the right user."
)

# How a receiver is signed in to: what most of them ask for first.
SIGN_INS = {
    SignInKind.BASIC: "User name and password",
    SignInKind.BEARER: "Bearer token",
    SignInKind.HEADER: "Custom header",
    SignInKind.ADDRESS: "Secret in the address",
    SignInKind.APPTIMIZE: "Apptimize token",
}
# What a sign-in has beside its secret.
SIGN_IN_NAMES = {SignInKind.BASIC: "User name", SignInKind.HEADER: "Header"}
MEMBER_IDS = {
    MemberId.DISTINCT: ("Distinct id", "Every profile of the cohort is a member, matched or not."),
    MemberId.APPTIMIZE: ("Apptimize id", "As at Apptimize: a profile without a usable one is not a member."),
    MemberId.PROPERTY: (
        "Another profile property",
        "A profile without a usable value is not a member. Never one of e-mail addresses, names or phone numbers.",
    ),
}
CANNOT_HEAL = (
    "Who leaves the cohort is removed there too. Anyone whom somebody else has added stays: such a receiver cannot be "
    "made to forget people whom Cohort Bridge does not know of."
)

TEST_TAKEN = (
    "The receiver took the test: it confirmed the message in the documented form. It knows a cohort called "
    f"“{TEST_NAME}” now, which can be deleted there."
)


def explain_test(*, adds_only: bool) -> str:
    """Say what a test does before it is sent."""
    effect = (
        f"It makes a cohort called “{TEST_NAME}” at the receiver, or leaves it as it is: no one is added, and "
        "no one is removed."
        if adds_only
        else f"It makes a cohort called “{TEST_NAME}” at the receiver, or empties the one that an earlier test made."
    )
    return (
        f"One message goes out: all members of a test cohort, of whom there are none. {effect} Its id is "
        f"{TEST_COHORT_ID}, which no cohort of Mixpanel has, so nothing else is touched."
    )


def is_apptimize(connection: Connection) -> bool:
    """Return whether a connection is an endpoint that is signed in to, and written, as Apptimize's is."""
    return (connection.kind, connection.sign_in, connection.member_id, connection.member_key, connection.adds_only) == (
        ConnectionKind.ENDPOINT, SignInKind.APPTIMIZE, MemberId.APPTIMIZE, "", False,
    )  # fmt: skip


def is_written_for_apptimize(destination: Connection) -> bool:
    """Return whether groups at a destination are Apptimize's: by messages, or by files that it takes."""
    return destination.kind == ConnectionKind.CSV or is_apptimize(destination)


def describe(connection: Connection) -> str:
    """Format in a line where a connection leads; of its secret only the last four characters."""
    if connection.kind == ConnectionKind.CSV:
        return f"CSV files in {connection.folder}"
    ending = f"••••{connection.secret_end}"
    if connection.kind == ConnectionKind.ENDPOINT:
        return f"{shown_address(connection)}, {_describe_sign_in(connection, ending)}"
    where = f"Project {connection.project_id}, {REGIONS.get(connection.region, connection.region)}"
    workspace = f", workspace {connection.workspace_id}" if connection.workspace_id else ""
    return f"{where}{workspace}, {connection.username}, secret {ending}"


def _describe_sign_in(connection: Connection, ending: str) -> str:
    match SignInKind(connection.sign_in):
        case SignInKind.BASIC:
            return f"user {connection.sign_in_name}, password {ending}"
        case SignInKind.BEARER:
            return f"bearer token {ending}"
        case SignInKind.HEADER:
            return f"header {connection.sign_in_name}: {ending}"
        case SignInKind.ADDRESS:
            return f"the address is the secret, {ending}" if connection.secret_end else "the address is the secret"
        case _:
            return f"token {ending}"


def credential(connection: Connection) -> str:
    """Say what signs in to a receiver, in the middle of a sentence."""
    if connection.sign_in == SignInKind.ADDRESS:
        return "its address"
    return "its sign-in" if connection.sign_in else "its token"


def describe_members(connection: Connection) -> str:
    """Format in a sentence whom a receiver takes for members, under which key, and what a full delivery does there."""
    key = connection.member_key
    match MemberId(connection.member_id):
        case MemberId.DISTINCT:
            whom = f"Members: every profile of a cohort, matched or not, by its distinct id, as {key or DISTINCT_KEY}."
        case MemberId.PROPERTY:
            name = connection.member_property
            whom = f"Members: profiles with the property {name}" + (f", as {key}." if key and key != name else ".")
        case _:
            whom = f"Members: profiles with an Apptimize id, as {key or APPTIMIZE_KEY}."
    return f"{whom} It only adds." if connection.adds_only else whom
