"""What a file would change of people: roles, and who is deactivated. Whom it does not name stays as they are."""

from __future__ import annotations

from core.access.people import checked_address
from core.access.roles import Role, addresses, get_role, is_enabled_admin, is_fixed_admin
from core.declared.entries import PersonEntry, sentence
from core.declared.plan import Change, Planning, added, differences
from core.errors import SettingsError


def plan_people(planning: Planning) -> None:
    """Plan the changes of all people that the file names, and refuse to take the last admin away."""
    for entry in planning.document.people:
        _plan_person(planning, entry)
    _require_an_admin(planning)


def _plan_person(planning: Planning, entry: PersonEntry) -> None:
    present = planning.present.people.get(entry.email)
    if present is None:
        try:
            checked_address(entry.email)
        except SettingsError as exc:
            planning.refuse(entry, "email", sentence(exc))
        fields = added({"role": entry.role, "disabled": entry.disabled or None})
        planning.plan.changes.append(Change("add", entry.kind, entry.email, fields, entry=entry))
        return
    settings = planning.bridge.settings
    is_fixed = is_fixed_admin(settings, entry.email)
    fields = differences(
        {
            "role": (get_role(settings, present).label, entry.role),
            "disabled": (present.disabled and not is_fixed, entry.disabled),
        }
    )
    if is_fixed:
        for name in fields:
            planning.refuse(entry, name, "this person is an admin by COHORT_BRIDGE_ADMINS: change that setting.")
    elif fields:
        planning.plan.changes.append(Change("change", entry.kind, entry.email, fields, entry=entry, present=present))


def _require_an_admin(planning: Planning) -> None:
    if addresses(planning.bridge.settings.admins):
        return
    settings, people = planning.bridge.settings, planning.present.people.values()
    before = {person.email for person in people if is_enabled_admin(settings, person)}
    named = {entry.email: entry for entry in planning.document.people}
    after = (before - named.keys()) | {email for email, entry in named.items() if _will_be_admin(entry)}
    if before and not after:
        entry = named[min(before)]
        name = "disabled" if entry.disabled else "role"
        planning.refuse(entry, name, "this is the last admin: no one could manage people any more.")


def _will_be_admin(entry: PersonEntry) -> bool:
    return entry.role == Role.ADMIN.label and not entry.disabled
