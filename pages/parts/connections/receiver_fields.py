"""The fields that describe a receiver, in the form that connects one and in the dialogs that change it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st
from pydantic import SecretStr
from streamlit.delta_generator import DeltaGenerator

from core.connections.example_message import example_message
from core.connections.receiver_checks import SECRET_LABELS
from core.connections.receiver_form import ReceiverForm, usual_key
from data.models import Connection, MemberId, SignInKind
from pages.parts.connections.wording import (
    CANNOT_HEAL,
    MEMBER_IDS,
    SIGN_IN_NAMES,
    SIGN_INS,
)
from pages.parts.secret_fields import secret_field, take_secret
from pages.shell import page_frame

REPLACES, ADDS = "Replaces the group", "Only adds"
# The fields that an error can name, as core calls them: it stands right below the one.
FIELDS = (
    "Endpoint", "User name", "Password", "Token", "Header", "Header's value", "Member property", "Member key", "Name",
)  # fmt: skip
_ADDRESS_HELP = "The address that takes cohort-sync messages."
_KEY_HELP = "The field of a member in each message that holds this id. The usual one is filled in."


def error_places(prefix: str) -> dict[str, str]:
    """Return where an error that names a field is shown, by the field's name."""
    return {label: _place(prefix, label) for label in FIELDS}


def show_error(prefix: str, label: str, key: str) -> None:
    """Show what is wrong with the field of this key, right below it, until it holds something else."""
    page_frame.show_answer(_place(prefix, label), key)


def has_error(prefix: str) -> bool:
    """Return whether the latest action failed for one of the fields."""
    return any(page_frame.has_failed(place) for place in error_places(prefix).values())


def _place(prefix: str, label: str) -> str:
    return f"{prefix}/{label}"


def sign_in_fields(prefix: str, current: Connection | None, *, with_address: bool = True) -> SignInKind:
    """Ask how the receiver is signed in to, and what the example shows of that. Returns the kind.

    `with_address`: where it is, too; an address that is the secret is none that is asked for here.
    """
    kinds = [kind for kind in SIGN_INS if with_address or kind != SignInKind.ADDRESS]
    left, right = (st.container(), st.container()) if current else st.columns(2)  # dialogs are narrow
    with left:
        kind = st.selectbox(
            "Sign-in",
            kinds,
            index=kinds.index(SignInKind(current.sign_in)) if current and current.sign_in in kinds else 0,
            format_func=SIGN_INS.__getitem__,
            key=f"{prefix}_sign_in",
        )
    if with_address and kind != SignInKind.ADDRESS:
        with right:
            st.text_input(
                "Endpoint URL",
                value=current.url if current and current.sign_in != SignInKind.ADDRESS else "",
                key=f"{prefix}_url",
                placeholder="https://…",
                help=_ADDRESS_HELP,
            )
            show_error(prefix, "Endpoint", f"{prefix}_url")
    if kind == SignInKind.HEADER:
        _name_field(st.columns(2)[0], prefix, kind, current)
    return kind


def _name_field(column: DeltaGenerator, prefix: str, kind: SignInKind, current: Connection | None) -> None:
    label, is_same_kind = SIGN_IN_NAMES[kind], current is not None and current.sign_in == kind
    with column:
        st.text_input(label, value=current.sign_in_name if current and is_same_kind else "", key=f"{prefix}_name")
        show_error(prefix, label, f"{prefix}_name")


def secret_fields(prefix: str, kind: SignInKind, current: Connection | None) -> None:
    """Ask for what the sign-in needs, the secret among it. Within a form: it is sent with the press alone."""
    if kind == SignInKind.ADDRESS:
        secret_field(
            "Endpoint URL",
            key=f"{prefix}_address",
            error_at=_place(prefix, "Endpoint"),
            placeholder="https://…",
            help="Anyone who knows it can write there, so all of it is kept as a secret: only its host is shown.",
        )
        return
    left, right = st.columns(2)
    if kind == SignInKind.BASIC:
        _name_field(left, prefix, kind, current)
    with right if kind == SignInKind.BASIC else left:
        secret_field(
            "Apptimize token" if kind == SignInKind.APPTIMIZE else SECRET_LABELS[kind],
            key=f"{prefix}_secret",
            error_at=_place(prefix, SECRET_LABELS[kind]),
        )


def member_fields(prefix: str, current: Connection | None) -> None:
    """Ask which id the receiver knows people by, what it is sent under, and what a full delivery does there."""
    member_id = st.radio(
        "Which id it knows people by",
        list(MEMBER_IDS),
        index=list(MEMBER_IDS).index(MemberId(current.member_id)) if current else 0,
        format_func={each: name for each, (name, _) in MEMBER_IDS.items()}.__getitem__,
        captions=[meaning for _, meaning in MEMBER_IDS.values()],
        key=f"{prefix}_member_id",
    )
    left, right = st.columns(2)
    if member_id == MemberId.PROPERTY:
        with left:
            st.text_input(
                "Member property",
                value=current.member_property if current else "",
                key=f"{prefix}_property",
                help="As Mixpanel spells it; capital letters count.",
            )
            show_error(prefix, "Member property", f"{prefix}_property")
    with right if member_id == MemberId.PROPERTY else left:
        _key_field(prefix, current)
    adds = st.radio(
        "When all members are sent, the receiver",
        [REPLACES, ADDS],
        index=int(bool(current and current.adds_only)),
        key=f"{prefix}_adds",
        horizontal=True,
        help="What its documentation says of the action `members`. If it is not known: some receivers never remove "
        "anyone on it.",
    )
    if adds == ADDS:
        st.info(CANNOT_HEAL, icon=":material/info:")


def _key_field(prefix: str, current: Connection | None) -> None:
    """Ask for the key; the usual one follows the id as long as no other was entered."""
    entered = st.session_state
    key, usual_before = f"{prefix}_key", f"{prefix}_usual_key"
    usual = usual_key(entered[f"{prefix}_member_id"], entered.get(f"{prefix}_property", "").strip())
    if key not in entered:
        entered[key] = (current.member_key if current else "") or usual
    elif entered[key].strip() in ("", entered.get(usual_before)):
        entered[key] = usual
    entered[usual_before] = usual
    st.text_input("Member key", key=key, help=_KEY_HELP)
    show_error(prefix, "Member key", key)


def show_example(prefix: str) -> None:
    """Show a message as it would be sent, with what was entered so far; a secret is not among that."""
    st.caption("An example message, as it would be sent:")
    st.code(str(example_message(_read(prefix))), language=None, wrap_lines=True)


def adds_only(prefix: str) -> bool:
    """Return whether it was entered that the receiver only adds."""
    return st.session_state[f"{prefix}_adds"] == ADDS


def read_form(prefix: str, current: Connection | None = None) -> ReceiverForm:
    """Read what was entered; the secrets are taken out of the session. What is not asked for stays as it is."""
    form = _read(prefix, current)
    if form.sign_in == SignInKind.ADDRESS:
        return replace(form, url=take_secret(f"{prefix}_address"))
    return replace(form, secret=take_secret(f"{prefix}_secret"))


def _read(prefix: str, current: Connection | None = None) -> ReceiverForm:
    """Read all that is no secret."""
    entered = st.session_state
    sign_in = entered[f"{prefix}_sign_in"]
    is_secret = sign_in == SignInKind.ADDRESS  # then it is taken with the press alone
    form = ReceiverForm(
        url=SecretStr("" if is_secret else entered.get(f"{prefix}_url", current.url if current else "")),
        sign_in=sign_in,
        sign_in_name=entered.get(f"{prefix}_name", "") if sign_in in SIGN_IN_NAMES else "",
    )
    return replace(form, **read_members(prefix, current))


def read_members(prefix: str, current: Connection | None = None) -> dict[str, Any]:
    """Read whom the receiver takes for members, as the form has it; what was not asked for as it is."""
    entered = st.session_state
    if f"{prefix}_member_id" not in entered:
        assert current
        names = ("member_id", "member_property", "member_key", "adds_only")
        return {name: getattr(current, name) for name in names}
    member_id, key = entered[f"{prefix}_member_id"], entered[f"{prefix}_key"]
    member_property = entered.get(f"{prefix}_property", "") if member_id == MemberId.PROPERTY else ""
    return {
        "member_id": member_id,
        "member_property": member_property,
        "member_key": "" if key.strip() == usual_key(member_id, member_property.strip()) else key,
        "adds_only": adds_only(prefix),
    }
