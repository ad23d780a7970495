"""What a file would change of connections: of both sides, field by field, secrets compared and never shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from core.connections.mixpanel_connection import MixpanelForm
from core.connections.receiver_checks import SECRET_LABELS, host_of
from core.connections.receiver_form import (
    ReceiverForm,
    checked_sign_in,
    full_address,
    members_word,
    property_of,
    shown_address,
    sign_in_word,
)
from core.connections.secrets import checked_secret
from core.declared.entries import CSV, ENDPOINT, EndpointEntry, FolderEntry, MixpanelEntry, Variable, sentence
from core.declared.exporting import is_open
from core.declared.plan import NOT_SHOWN, Change, Planning, added, called, differences
from core.errors import SecretKeyLost, SettingsError
from core.text import shown
from data.models import DESTINATION_SIDE, Connection, ConnectionKind, SignInKind
from data.same_place import is_same_place, normal_address

# What makes Mixpanel be asked again before it is stored.
ASKED_FIELDS = ("username", "secret", "project_id", "region", "workspace_id", "id_merge")
_READ_FIELDS = ("project_id", "region", "workspace_id", "id_merge", "match_property")
# What makes a receiver be tested again before it is stored.
TESTED_FIELDS = ("kind", "endpoint", "auth", "auth_name", "secret", "folder")
# Which field of a file a check is about, by how the form calls it.
_FIELDS = {"Endpoint": "endpoint", "User name": "auth_name", "Header": "auth_name"}


def plan_connections(planning: Planning) -> None:
    """Plan the changes of all connections that the file names."""
    for entry in planning.document.mixpanel:
        _plan_mixpanel(planning, entry)
    for entry in planning.document.destinations:
        if isinstance(entry, FolderEntry):
            _plan_folder(planning, entry)
        else:
            _Endpoint(planning, entry).plan()


# --- Mixpanel ------------------------------------------------------------------------------------------------------


def _plan_mixpanel(planning: Planning, entry: MixpanelEntry) -> None:
    present = planning.present.mixpanel.get(entry.name)
    values = {
        name: getattr(entry, name)
        for name in ("username", "project_id", "region", "workspace_id", "id_merge", "match_property", "expects_prefix")
    }
    secret, token = planning.environment.find(entry.secret), planning.environment.find(entry.project_token)
    _check_secret(planning, entry, "secret", secret, "Secret")
    _check_secret(planning, entry, "project_token", token, "Project token")
    if present is None:
        fields = added(values | {"secret": entry.secret, "project_token": entry.project_token})
    else:
        fields = differences({name: (getattr(present, name), value) for name, value in values.items()})
        fields |= of_secret(planning, "secret", present.secret, secret, entry.secret)
        if entry.project_token:
            fields |= of_secret(planning, "project_token", present.project_token, token, entry.project_token)
    if secret is None and any(name in fields for name in ASKED_FIELDS):
        planning.refuse_unset(entry, "secret", entry.secret)
    has_token = present is not None and present.project_token is not None and "project_id" not in fields
    if entry.project_token and token is None and not has_token:
        planning.refuse_unset(entry, "project_token", entry.project_token)
    if not fields:
        planning.note_unset(entry.secret, entry.project_token)
        return
    form = MixpanelForm(
        secret=secret or SecretStr(""), project_token=token, name=entry.name, **{k: values[k] for k in values}
    )
    action, notes = ("change", _feeding_notes(planning, present, fields)) if present else ("add", ())
    planning.plan.changes.append(
        Change(action, entry.kind, entry.name, fields, notes, entry=entry, present=present, form=form)
    )


def _feeding_notes(planning: Planning, present: Connection, fields: dict[str, Any]) -> tuple[str, ...]:
    fed = [each for each in planning.present.syncs.values() if each.mixpanel.id == present.id]
    if "project_id" in fields:
        return ("It leads to another project: syncs of the one before stop, and their groups stay as they are.",)
    if fed and any(name in fields for name in _READ_FIELDS):
        return (f"Other users may be read through it: {_counted(len(fed))} written in full next.",)
    return ()


# --- folders -------------------------------------------------------------------------------------------------------


def _plan_folder(planning: Planning, entry: FolderEntry) -> None:
    present = planning.present.destinations.get(entry.name)
    if present is None:
        fields = added({"kind": CSV, "folder": entry.folder})
    elif present.kind != ConnectionKind.CSV:
        fields = {"kind": (ENDPOINT, CSV), "folder": (None, entry.folder)}
    elif not is_same_place(present, _folder(entry)):
        fields = {"folder": (present.folder, entry.folder)}
    else:
        return
    action, notes = ("change", _doubt_notes(planning, present)) if present else ("add", ())
    planning.plan.changes.append(Change(action, entry.kind, entry.name, fields, notes, entry=entry, present=present))


def _folder(entry: FolderEntry) -> Connection:
    """Return a connection as it would be, to compare; no one stores it."""
    return Connection(side=DESTINATION_SIDE, kind=ConnectionKind.CSV, name="", folder=entry.folder)  # type: ignore[call-arg]


# --- receivers -----------------------------------------------------------------------------------------------------


class _Endpoint:
    """A receiver as the file has it, beside the one that is there."""

    def __init__(self, planning: Planning, entry: EndpointEntry) -> None:
        self._planning, self._entry = planning, entry
        self._present = planning.present.destinations.get(entry.name)
        self._is_endpoint = self._present is not None and self._present.kind == ConnectionKind.ENDPOINT
        self._address = find_address(planning, entry)
        self._secret = planning.environment.find(entry.secret)

    def plan(self) -> None:
        planning, entry, present = self._planning, self._entry, self._present
        form = self._form()
        if form is None:
            return
        fields = self._fields(form)
        if not fields:
            planning.note_unset(entry.secret, entry.endpoint if isinstance(entry.endpoint, Variable) else None)
            return
        if any(name in fields for name in TESTED_FIELDS):
            if self._address is None and isinstance(entry.endpoint, Variable):
                planning.refuse_unset(entry, "endpoint", entry.endpoint)
            if self._secret is None and entry.secret:
                planning.refuse_unset(entry, "secret", entry.secret)
        action, notes = ("change", _doubt_notes(planning, present)) if present else ("add", ())
        planning.plan.changes.append(
            Change(action, entry.kind, entry.name, fields, notes, entry=entry, present=present, form=form)
        )

    def _form(self) -> ReceiverForm | None:
        """Return the form with what is known of secrets, in the plainest form if all is; None: it is refused."""
        entry, form = self._entry, self._entry.form
        if self._secret is None and entry.secret:
            return replace(form, url=self._address or form.url)
        if self._address is None:
            return replace(form, secret=self._secret or form.secret)
        try:
            return checked_sign_in(replace(form, url=self._address, secret=self._secret or SecretStr("")))
        except SettingsError as exc:
            label = exc.message.partition(":")[0]
            is_secret = label in SECRET_LABELS.values()
            self._planning.refuse(entry, "secret" if is_secret else _FIELDS.get(label, "endpoint"), sentence(exc))
            return None

    def _fields(self, form: ReceiverForm) -> dict[str, tuple[Any, Any]]:
        entry, present = self._entry, self._present
        after = _shown(form) | {"apart": entry.apart or None}
        if present is None or not self._is_endpoint:
            values = added({"kind": ENDPOINT, "endpoint": entry.endpoint, **after, "secret": entry.secret})
            return {**values, "kind": (CSV, ENDPOINT)} if present else values
        before = _shown(present)
        fields = differences({name: (before[name], after[name]) for name in before})
        fields |= self._address_field(form, present)
        if entry.secret and form.sign_in != SignInKind.ADDRESS:
            # As it is stored, where it was entered as a header of one's own.
            known = self._secret and form.secret
            fields |= of_secret(self._planning, "secret", present.secret, known, entry.secret)
        if needs_apart(self._planning, entry):
            fields["apart"] = (False, True)
        return fields

    def _address_field(self, form: ReceiverForm, present: Connection) -> dict[str, tuple[Any, Any]]:
        if self._address is None:
            return {}
        address = form.url.get_secret_value()
        is_variable = isinstance(self._entry.endpoint, Variable)
        to_be_sealed = is_variable and present.address is None and is_open(present)
        try:
            if full_address(self._planning.bridge, present) == address and not to_be_sealed:
                return {}
        except SecretKeyLost:
            pass
        where = f"{host_of(address)}/…" if is_variable else address
        return {"endpoint": (shown(shown_address(present)), shown(where))}


def _shown(row: Connection | ReceiverForm) -> dict[str, Any]:
    """Return what is no secret of a receiver, in the words of the file."""
    return {
        "auth": sign_in_word(row.sign_in),
        "auth_name": row.sign_in_name or None,
        "member_id": property_of(row.member_id, row.member_property),
        "member_key": row.member_key or None,
        "members": members_word(adds_only=row.adds_only),
    }


def find_address(planning: Planning, entry: EndpointEntry) -> SecretStr | None:
    """Return where a receiver is to lead; None where that is a secret which is not set."""
    if isinstance(entry.endpoint, str):
        return SecretStr(entry.endpoint)
    address = planning.environment.find(entry.endpoint)
    return address and SecretStr(address.get_secret_value().strip().partition("#")[0])


def known_address(planning: Planning, entry: EndpointEntry) -> str | None:
    """Return the one form of where a receiver leads, or continues to lead; None where that cannot be known here."""
    address = find_address(planning, entry)
    if address:
        return normal_address(address.get_secret_value())
    present = planning.present.destinations.get(entry.name)
    try:
        return normal_address(full_address(planning.bridge, present)) if present else None
    except SecretKeyLost:
        return None


def list_neighbors(planning: Planning, entry: EndpointEntry) -> list[EndpointEntry]:
    """List the other receivers of the file that lead to the same address."""
    others = [each for each in planning.document.destinations if isinstance(each, EndpointEntry) and each is not entry]
    place = known_address(planning, entry) if others else None
    return [other for other in others if place and known_address(planning, other) == place]


def needs_apart(planning: Planning, entry: EndpointEntry) -> bool:
    """Return whether it has to be said of a receiver that is there that its groups are kept apart from another's."""
    present = planning.present.destinations
    here = present.get(entry.name)
    if not entry.apart or here is None or here.apart:
        return False
    return any(not (other.name in present and present[other.name].apart) for other in list_neighbors(planning, entry))


def _doubt_notes(planning: Planning, present: Connection | None) -> tuple[str, ...]:
    """Return what becomes of the groups that were delivered to a destination that is changed."""
    groups = [
        group
        for group in planning.present.groups.values()
        if present and group.destination_id == present.id and (group.delivered_at or group.in_doubt)
    ]
    if not groups:
        return ()
    return (f"What its groups hold is in doubt then: {_counted(len(groups))} written in full next.",)


def _counted(number: int) -> str:
    return f"{number:,} group{' is' if number == 1 else 's are'}"


def _check_secret(planning: Planning, entry: MixpanelEntry, name: str, secret: SecretStr | None, label: str) -> None:
    try:
        if secret:
            checked_secret(secret, label, f"It is in {called(getattr(entry, name).name)}.")
    except SettingsError as exc:
        planning.refuse(entry, name, sentence(exc))


def of_secret(
    planning: Planning, name: str, sealed: str | None, secret: SecretStr | None, variable: Variable
) -> dict[str, tuple[Any, Any]]:
    """Return the difference, by name, between a secret that is there and the one in a variable, if that is set."""
    if secret is None:
        return {}
    try:
        is_same = sealed is not None and planning.bridge.vault.decrypt(sealed) == secret.get_secret_value().strip()
    except SecretKeyLost:
        is_same = False
    return {} if is_same else {name: (NOT_SHOWN if sealed else None, variable)}
