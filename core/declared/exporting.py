"""Writing what is there as a file: in a stable order, one table a thing, and no secret in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, cast
from urllib.parse import urlsplit

from core.access.roles import Actor, Role, action, get_role, is_fixed_admin
from core.bridge import Bridge
from core.connections.receiver_form import members_word, property_of, sign_in_word
from core.declared.entries import ACTIVE, CSV, ENDPOINT, PAUSED, SCHEMA, Variable, time_text
from core.declared.environment import variable_name
from core.declared.present import Present, PresentSync, read_present
from core.declared.toml import write_text
from core.rules import schedules
from core.rules.matching import APPTIMIZE_PROPERTY
from core.settings import Settings
from core.text import shown
from data.alert_models import AlertChannel
from data.models import Connection, ConnectionKind, MemberId, Person, Schedule, SignInKind, Sync, SyncState

_HEAD = """\
# What Cohort Bridge is to do, as `python -m core config export` wrote it.
# `python -m core config plan FILE` shows what a file would change, `python -m core config apply FILE` changes it.
# No secret is in it: each { env = "NAME" } names the environment variable, or the line of .env, that holds one.
# What a file does not name stays as it is, unless it is applied with --prune. More: docs/operate/declared.md.
"""
_PRACTICE_LEFT_OUT = "# Left out: what leads to the practice sandbox (`config export --practice` writes it too).\n"

# The fields of one table, in their order; without a value they are left out.
_Table = Sequence[tuple[str, Any]]


@action(Role.ADMIN)
def export_config(bridge: Bridge, actor: Actor, *, practice: bool = False) -> str:
    """Write what is there as TOML; `practice`: also what leads to the practice sandbox. Raises StorageFailed."""
    present = read_present(bridge)
    return "\n".join(_write(present, bridge.settings, practice=practice))


def _write(present: Present, settings: Settings, *, practice: bool) -> Iterator[str]:
    left_out = not practice and any(each.practice for each in present.list_connections())
    yield _HEAD + (_PRACTICE_LEFT_OUT if left_out else "")
    yield f"schema = {SCHEMA}\n" + ("practice = true\n" if practice else "")
    yield f"[alerts]\nfailing_after = {present.failing_after}\n"
    names = set[str]()
    for connection in present.mixpanel.values():
        if practice or not connection.practice:
            yield _table("mixpanel", _mixpanel(connection, names))
    for connection in present.destinations.values():
        if practice or not connection.practice:
            yield _table("destinations", _destination(connection, names))
    for channel in present.channels.values():
        yield _table("channels", _channel(channel, present, names, practice=practice))
    for person in present.people.values():
        yield _table("people", _person(person, settings))
    for sync in _listed(present, practice=practice):
        yield _table("syncs", _sync(sync), comment=sync.group.cohort_name)
    strays = [each for each in present.syncs.values() if each.is_stray]
    if strays:
        yield "".join(f"# Left out, since a connection of it is gone: the sync of {shown(s.label)}.\n" for s in strays)


def _listed(present: Present, *, practice: bool) -> list[PresentSync]:
    listed = [each for each in present.syncs.values() if not each.is_stray and (practice or not each.is_practice)]
    return _sorted(listed)


def _sorted(syncs: list[PresentSync]) -> list[PresentSync]:
    return sorted(syncs, key=lambda each: (each.destination.name, each.mixpanel.name, each.sync.cohort_id))


def _mixpanel(connection: Connection, names: set[str]) -> _Table:
    return [
        ("name", connection.name),
        ("username", connection.username),
        ("secret", _variable(names, "MIXPANEL", connection.name, "SECRET")),
        ("project_id", connection.project_id),
        ("region", connection.region),
        ("workspace_id", connection.workspace_id),
        ("id_merge", connection.id_merge),
        ("match_property", connection.match_property),
        ("expects_prefix", connection.expects_prefix),
        (
            "project_token",
            _variable(names, "MIXPANEL", connection.name, "PROJECT_TOKEN") if connection.project_token else None,
        ),
    ]


def _destination(connection: Connection, names: set[str]) -> _Table:
    if connection.kind == ConnectionKind.CSV:
        return [("name", connection.name), ("kind", CSV), ("folder", connection.folder)]
    is_signed_in = connection.sign_in != SignInKind.ADDRESS
    return [
        ("name", connection.name),
        ("kind", ENDPOINT),
        (
            "endpoint",
            connection.url if is_open(connection) else _variable(names, "DESTINATION", connection.name, "ADDRESS"),
        ),
        ("auth", sign_in_word(connection.sign_in)),
        ("auth_name", connection.sign_in_name or None),
        ("secret", _variable(names, "DESTINATION", connection.name, "SECRET") if is_signed_in else None),
        ("member_id", _member_id(connection)),
        ("member_key", connection.member_key or None),
        ("members", members_word(adds_only=connection.adds_only)),
        ("apart", True if connection.apart else None),
    ]


def is_open(connection: Connection) -> bool:
    """Return whether an endpoint's address may stand in a file: it is not sealed, and nothing in it may be a secret."""
    return connection.address is None and "?" not in connection.url and "@" not in urlsplit(connection.url).netloc


def _member_id(connection: Connection) -> str | dict[str, str]:
    name = property_of(connection.member_id, connection.member_property)
    is_named_alike = connection.member_id == MemberId.PROPERTY and name == APPTIMIZE_PROPERTY
    return {"property": name} if is_named_alike else name


def _variable(names: set[str], *parts: str) -> Variable:
    name = variable_name(*parts, taken=names)
    names.add(name)
    return Variable(name)


def _channel(channel: AlertChannel, present: Present, names: set[str], *, practice: bool) -> _Table:
    named = [each for each in present.find_named(channel.sync_ids).values() if practice or not each.is_practice]
    syncs = [_sync_name(each) for each in _sorted(named)]
    return [
        ("name", channel.name),
        ("address", _variable(names, "CHANNEL", channel.name, "ADDRESS")),
        ("warnings", channel.warnings),
        ("tags", channel.tags or None),
        ("syncs", None if channel.all_syncs or (channel.tags and not syncs) else syncs),
        ("enabled", None if channel.enabled else False),
    ]


def _sync_name(present: PresentSync) -> dict[str, Any]:
    names = {"mixpanel": present.mixpanel.name, "destination": present.destination.name}
    return {"cohort_id": present.sync.cohort_id, **names}


def _person(person: Person, settings: Settings) -> _Table:
    is_fixed = is_fixed_admin(settings, person.email)
    return [
        ("email", person.email),
        ("role", get_role(settings, person).label),
        ("disabled", True if person.disabled and not is_fixed else None),
    ]


def _sync(present: PresentSync) -> _Table:
    sync = present.sync
    return [
        ("cohort_id", sync.cohort_id),
        ("mixpanel", present.mixpanel.name),
        ("destination", present.destination.name),
        ("group_name", present.group.own_name or None),
        ("every_minutes", sync.every_minutes),
        ("schedule", schedule_text(sync)),
        ("max_shrink", sync.max_shrink),
        ("tags", sync.tags or None),
        ("match_property", sync.match_property),
        ("expects_prefix", sync.expects_prefix),
        ("state", ACTIVE if sync.state == SyncState.ACTIVE else PAUSED),
        ("paused_until", sync.paused_until),
    ]


def schedule_text(sync: Sync) -> str | None:
    """Return a sync's set times in the words of the file."""
    timing = sync.timing
    return schedules.text_of(timing) if isinstance(timing, Schedule) else None


def _table(name: str, fields: _Table, *, comment: str = "") -> str:
    lines = [f"# {shown(comment)}"] if comment else []
    lines += [f"[[{name}]]", *(f"{key} = {_value(value)}" for key, value in fields if value is not None)]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, Variable):
        return f"{{ env = {write_text(value.name)} }}"
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return "{ " + ", ".join(f"{key} = {_value(each)}" for key, each in fields.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(each) for each in cast("list[Any]", value)) + "]"
    return str(value) if isinstance(value, int) else write_text(str(value))
