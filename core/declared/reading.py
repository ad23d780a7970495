"""Reading a file of declared state: refused whole, with every mistake, or a document whose fields are all checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from datetime import datetime
from functools import partial
from pathlib import Path as FilePath
from typing import Any, TypeVar, cast

from pydantic import SecretStr

from core.access.people import ADDRESS_LENGTH, checked_role
from core.access.people import checked_address as checked_email
from core.access.roles import normal
from core.alerts.listing import check_failures
from core.connections import receiver_checks
from core.connections.entering import NAME_LENGTH
from core.connections.mixpanel_connection import checked_property, checked_username
from core.connections.receiver_form import (
    MEMBERS_WORDS,
    SIGN_IN_WORDS,
    ReceiverForm,
    checked_members,
    member_id_of,
)
from core.declared.entries import (
    ACTIVE,
    CSV,
    ENDPOINT,
    PAUSED,
    SCHEMA,
    AlertsEntry,
    ChannelEntry,
    Document,
    EndpointEntry,
    Entry,
    FileRefused,
    FolderEntry,
    Mistake,
    MixpanelEntry,
    PersonEntry,
    SyncEntry,
    SyncName,
    Variable,
)
from core.declared.fields import Fields
from core.declared.toml import Lines, NotToml, read_toml
from core.errors import NotFound, SettingsError
from core.files import NoFile, open_file
from core.rules import schedules
from core.rules.matching import APPTIMIZE_PROPERTY, IdMerge
from core.rules.personal_properties import require_impersonal
from core.syncs.checks import check_interval, check_shrink_limit, checked_tags
from core.syncs.placing import checked_group_name
from core.text import MOST_ID, shown
from core.validation import clean_exact_line, clean_line, whole_number
from core.vendors.mixpanel_project import REGIONS
from data.models import MemberId, SignInKind

_MOST_BYTES = 2**22
_USUAL_INTERVAL = 15
_ANY_ADDRESS = "https://receiver.example"
E_ = TypeVar("E_", bound=Entry)


def read_file(path: FilePath) -> Document:
    """Read a file of declared state. Raises FileRefused with every mistake, NotFound, SettingsError."""
    try:
        with open_file(path) as file:
            content = file.read(_MOST_BYTES + 1)
    except NoFile as exc:
        raise SettingsError(f"{path.name} is {exc.kind}, and no file.", advice="Name a file.") from None
    except OSError as exc:
        raise NotFound(
            f"The file {path.name} cannot be read: {exc.strerror}.", advice="`python -m core config export` makes one."
        ) from None
    if len(content) > _MOST_BYTES:
        raise SettingsError(
            f"{path.name} is larger than {_MOST_BYTES // 2**20} MB.", advice="Split it up, or shorten it."
        )
    return read_document(content)


def read_document(content: bytes) -> Document:
    """Read the content of a file. Raises FileRefused with every mistake."""
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
        values, lines = read_toml(text)
    except UnicodeDecodeError as exc:
        line = content[: exc.start].count(b"\n") + 1
        raise FileRefused([Mistake(line, "file", "this is not text in UTF-8.")]) from None
    except NotToml as exc:
        raise FileRefused([Mistake(exc.line, "file", f"this is not TOML: {shown(str(exc))}.")]) from None
    mistakes = list[Mistake]()
    top = Fields(values, (), lines, mistakes)
    schema = top.take("schema", int, needed=True)
    if schema not in (None, SCHEMA):
        raise FileRefused(
            [Mistake(lines.find(("schema",)), "schema", f"this program reads files of schema {SCHEMA}.")],
            advice="Nothing was changed. Update this program, or write the file as this one does.",
        )
    practice = top.take("practice", bool) or False
    reader = _Reader(top, lines, mistakes)
    document = Document(
        lines,
        hashlib.sha256(content).hexdigest(),
        practice,
        mixpanel=reader.entries("mixpanel", _mixpanel, lambda entry: entry.name),
        destinations=reader.entries("destinations", _destination, lambda entry: entry.name),
        alerts=_alerts(top, lines, mistakes),
        channels=reader.entries("channels", _channel, lambda entry: entry.name),
        people=reader.entries("people", _person, lambda entry: entry.email),
        syncs=reader.entries("syncs", _sync, lambda entry: (entry.cohort_id, entry.destination, entry.mixpanel)),
    )
    top.refuse_others()
    if mistakes:
        raise FileRefused(mistakes)
    return document


class _Reader:
    """Reads the tables of each name."""

    def __init__(self, top: Fields, lines: Lines, mistakes: list[Mistake]) -> None:
        self._top, self._lines, self._mistakes = top, lines, mistakes

    def entries(self, name: str, read: Callable[[Fields], E_ | None], key: Callable[[E_], Hashable]) -> list[E_]:
        """Return the entries of all tables of a name; two of one key are a mistake."""
        tables = self._top.take(name, cast("type[list[Any]]", list)) or []
        seen = dict[Hashable, int]()
        entries = list[E_]()
        for number, table in enumerate(tables):
            if not isinstance(table, dict):
                self._top.refuse(name, f"each of these is a table: [[{name}]].")
                break
            fields = Fields(cast("dict[str, Any]", table), (name, number), self._lines, self._mistakes)
            entry = read(fields)
            fields.refuse_others()
            if entry is None or not fields.is_whole:
                continue
            line = self._lines.find(fields.path)
            if key(entry) in seen:
                first = seen[key(entry)]
                self._mistakes.append(Mistake(line, name, f"{entry.label} is there already, in line {first}."))
                continue
            seen[key(entry)] = line
            entries.append(entry)
        return entries


def _name(text: str) -> str:
    return clean_line(text, "Name", most=NAME_LENGTH)


def _mixpanel(fields: Fields) -> MixpanelEntry | None:
    name = fields.text("name", _name, needed=True)
    username = fields.text("username", checked_username, needed=True)
    secret = fields.variable("secret", needed=True)
    project = fields.take("project_id", int, needed=True)
    workspace = fields.take("workspace_id", int)
    id_merge = fields.choice("id_merge", [each.value for each in IdMerge], IdMerge.ORIGINAL.value)
    entered = fields.take("match_property", str) or ""
    entry = MixpanelEntry(
        name=name or "",
        username=username or "",
        secret=secret or Variable(""),
        project_id=(project is not None and fields.check("project_id", whole_number, project, "Project id")) or 0,
        region=fields.choice("region", list(REGIONS), "us"),
        workspace_id=None
        if workspace is None
        else fields.check("workspace_id", whole_number, workspace, "Workspace id"),
        id_merge=id_merge,
        match_property=fields.check("match_property", checked_property, entered, id_merge) or "",
        expects_prefix=fields.take("expects_prefix", bool),
        project_token=fields.variable("project_token"),
        path=fields.path,
    )
    return entry if fields.is_whole else None


def _destination(fields: Fields) -> EndpointEntry | FolderEntry | None:
    name = fields.text("name", _name, needed=True)
    kind = fields.choice("kind", (ENDPOINT, CSV), ENDPOINT)
    if kind == CSV:
        folder = fields.text("folder", partial(clean_line, field="Folder"), needed=True)
        return FolderEntry(name or "", folder or "", path=fields.path) if fields.is_whole else None
    sign_in = SIGN_IN_WORDS[fields.choice("auth", list(SIGN_IN_WORDS), "token")]
    endpoint = _endpoint(fields, sign_in)
    secret = None if sign_in is SignInKind.ADDRESS else fields.variable("secret", needed=True)
    form = ReceiverForm(
        SecretStr(endpoint if isinstance(endpoint, str) else ""),
        sign_in=sign_in,
        sign_in_name=_sign_in_name(fields, sign_in),
        **_members(fields),
    )
    apart = fields.take("apart", bool) or False
    if not fields.is_whole or endpoint is None:
        return None
    return EndpointEntry(name or "", form, endpoint, secret, apart, path=fields.path)


def _endpoint(fields: Fields, sign_in: SignInKind) -> str | Variable | None:
    if fields.is_table("endpoint"):
        return fields.variable("endpoint", needed=True)
    endpoint = fields.text("endpoint", receiver_checks.checked_address, needed=True)
    if endpoint is not None and sign_in is SignInKind.ADDRESS:
        fields.refuse("endpoint", 'with auth = "none" the address is the secret: { env = "NAME" }.')
    return endpoint


def _sign_in_name(fields: Fields, sign_in: SignInKind) -> str:
    is_needed = sign_in in (SignInKind.BASIC, SignInKind.HEADER)
    name = fields.take("auth_name", str, needed=is_needed)
    if name is not None and not is_needed:
        fields.refuse("auth_name", 'this is for auth = "basic" and auth = "header".')
    return fields.check("auth_name", receiver_checks.checked_sign_in_name, sign_in, name) or "" if name else ""


def _members(fields: Fields) -> dict[str, Any]:
    """Take which id a receiver is sent, and under which key; what is named as a property is one in any case."""
    if fields.is_table("member_id"):
        table = fields.take("member_id", cast("type[dict[str, Any]]", dict)) or {}
        named = table.get("property")
        member_id, member_property = MemberId.PROPERTY, named if isinstance(named, str) else ""
        if list(table) != ["property"]:
            fields.refuse("member_id", 'this is a property of profiles, or { property = "NAME" }.')
    else:
        member_id, member_property = member_id_of(fields.take("member_id", str) or APPTIMIZE_PROPERTY)
    form = ReceiverForm(
        SecretStr(_ANY_ADDRESS),
        member_id=member_id,
        member_property=member_property,
        member_key=fields.take("member_key", str) or "",
        adds_only=MEMBERS_WORDS[fields.choice("members", list(MEMBERS_WORDS), "replaces")],
    )
    checked = fields.check("member_id" if fields.has("member_id") else "member_key", checked_members, form) or form
    return {name: getattr(checked, name) for name in ("member_id", "member_property", "member_key", "adds_only")}


def _alerts(top: Fields, lines: Lines, mistakes: list[Mistake]) -> AlertsEntry | None:
    table = top.take("alerts", cast("type[dict[str, Any]]", dict))
    if table is None:
        return None
    fields = Fields(table, ("alerts",), lines, mistakes)
    failures = fields.take("failing_after", int, needed=True)
    fields.refuse_others()
    if failures is not None:
        fields.check("failing_after", check_failures, failures)
    return AlertsEntry(failures or 0, path=("alerts",)) if fields.is_whole else None


def _channel(fields: Fields) -> ChannelEntry | None:
    name = fields.text("name", _name, needed=True)
    address = fields.variable("address", needed=True)
    tags = fields.check("tags", checked_tags, fields.texts("tags")) if fields.has("tags") else None
    enabled = fields.take("enabled", bool)
    entry = ChannelEntry(
        name=name or "",
        address=address or Variable(""),
        warnings=fields.take("warnings", bool) or False,
        tags=None if tags is None else tuple(tags),
        syncs=_sync_names(fields) if fields.has("syncs") else None,
        enabled=True if enabled is None else enabled,
        path=fields.path,
    )
    return entry if fields.is_whole else None


def _sync_names(fields: Fields) -> tuple[SyncName, ...]:
    names = list[SyncName]()
    for each in fields.tables("syncs"):
        cohort_id, mixpanel, destination = (each.get(name) for name in ("cohort_id", "mixpanel", "destination"))
        is_number = isinstance(cohort_id, int) and not isinstance(cohort_id, bool) and 0 < cohort_id <= MOST_ID
        is_name = is_number and all(isinstance(name, str | None) for name in (mixpanel, destination))
        if not is_name or each.keys() - {"cohort_id", "mixpanel", "destination"}:
            fields.refuse("syncs", 'each of these is { cohort_id = 1, mixpanel = "NAME", destination = "NAME" }.')
            break
        names.append(SyncName(cast("int", cohort_id), mixpanel, destination))
    return tuple(names)


def _person(fields: Fields) -> PersonEntry | None:
    email = fields.text("email", _email, needed=True)
    role = fields.text("role", checked_role, needed=True)
    disabled = fields.take("disabled", bool) or False
    return PersonEntry(email, role.label, disabled, path=fields.path) if fields.is_whole and email and role else None


def _sync(fields: Fields) -> SyncEntry | None:
    cohort = fields.take("cohort_id", int, needed=True)
    if cohort is not None and not 0 < cohort <= MOST_ID:
        fields.refuse("cohort_id", "this is the number of a cohort, as `python -m core cohorts` lists them.")
    every, schedule = fields.take("every_minutes", int), fields.text("schedule", schedules.parse)
    if every is not None and fields.has("schedule"):
        fields.refuse("schedule", "every_minutes and schedule exclude each other.")
    state = fields.choice("state", (ACTIVE, PAUSED), "") or None
    max_shrink = fields.take("max_shrink", int)
    own = fields.take("match_property", str)
    entry = SyncEntry(
        cohort_id=cohort or 0,
        mixpanel=fields.text("mixpanel", _name),
        destination=fields.text("destination", _name),
        group_name=fields.text("group_name", checked_group_name),
        every_minutes=None if schedule else fields.check("every_minutes", check_interval, every or _USUAL_INTERVAL),
        schedule=schedule,
        max_shrink=None if max_shrink is None else fields.check("max_shrink", check_shrink_limit, max_shrink),
        tags=tuple(fields.check("tags", checked_tags, fields.texts("tags")) or ()),
        match_property=None if own is None else fields.check("match_property", _own_property, own),
        expects_prefix=fields.take("expects_prefix", bool),
        state=state,
        paused_until=_pause_end(fields, state),
        path=fields.path,
    )
    return entry if fields.is_whole else None


def _pause_end(fields: Fields, state: str | None) -> datetime | None:
    end = fields.take("paused_until", datetime)
    if end is None:
        return None
    if end.tzinfo is None:
        fields.refuse("paused_until", "this is a time with its offset, such as 2026-11-30T08:00:00Z.")
    elif state != PAUSED:
        fields.refuse("paused_until", 'this is for state = "paused".')
    return end


def _email(text: str) -> str:
    """Return an address that somebody may have signed in with; one that is added is checked once more."""
    address = normal(clean_line(text, "Address", most=ADDRESS_LENGTH))
    return address if "@" in address else checked_email(address)


def _own_property(name: str) -> str:
    checked = clean_exact_line(name, "Match property")
    require_impersonal(checked, "Match property")
    return checked
