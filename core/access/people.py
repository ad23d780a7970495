"""People: who may sign in, and with which role. The last admin cannot be taken away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.access import roles
from core.access.roles import SIGNED_OUT_EVERYWHERE, Actor, Role, action
from core.bridge import Bridge
from core.errors import NotFound, SettingsError
from core.seen import changed_meanwhile
from data import people
from data.models import Person

ADDRESS_LENGTH = 320
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")


@dataclass(frozen=True)
class PersonView:
    """A person, the role that counts, and whether COHORT_BRIDGE_ADMINS says so."""

    person: Person
    role: Role
    fixed: bool


@action(Role.ADMIN)
def list_people(bridge: Bridge, actor: Actor) -> list[PersonView]:
    """List everyone who signed in or was added, by address."""
    return [_view(bridge, person) for person in people.list_people(bridge.engine)]


@action(Role.ADMIN)
def add_person(bridge: Bridge, actor: Actor, email: str, role: str = Role.VIEWER.label) -> Person:
    """Add a person before they sign in for the first time. Raises SettingsError naming the field."""
    address, granted = checked_address(email), checked_role(role)
    person = people.add(bridge.engine, address, granted.label, now=bridge.clock.now())
    if person is None:
        raise SettingsError(f"Address: {address} is there already.", advice="Change the role instead.")
    return person


@action(Role.ADMIN)
def change_role(bridge: Bridge, actor: Actor, person_id: int, role: str, *, seen: Role | None = None) -> Person:
    """Give a person another role; it counts at their next click.

    With the role that was `seen`, no one may have given them another one since.
    Raises: NotFound, SettingsError, ChangedMeanwhile.
    """
    granted = checked_role(role)

    def check(person: Person, enabled: Sequence[Person]) -> None:
        if seen not in (None, roles.get_role(bridge.settings, person)):
            raise changed_meanwhile("this role")
        _require_changeable(bridge, person)
        if granted is not Role.ADMIN:
            _require_another_admin(bridge, person, enabled)

    return _known(people.change_role(bridge.engine, person_id, granted.label, check=check))


@action(Role.ADMIN)
def disable_person(bridge: Bridge, actor: Actor, person_id: int) -> Person:
    """Deactivate a person, from their next click on; what they did stays. Raises NotFound, SettingsError."""

    def check(person: Person, enabled: Sequence[Person]) -> None:
        _require_changeable(bridge, person)
        _require_another_admin(bridge, person, enabled)

    now = bridge.clock.now()
    return _known(people.disable(bridge.engine, person_id, check=check, reason=SIGNED_OUT_EVERYWHERE, now=now))


@action(Role.ADMIN)
def enable_person(bridge: Bridge, actor: Actor, person_id: int) -> Person:
    """Activate a person again, with the role that they had. Raises NotFound."""
    return _known(people.enable(bridge.engine, person_id))


@action(Role.ADMIN)
def end_sign_ins(bridge: Bridge, actor: Actor, person_id: int) -> Person:
    """Sign a person out everywhere, from their next click on. Raises NotFound."""
    return _end_sign_ins(bridge, person_id)


@action(Role.VIEWER)
def end_my_sign_ins(bridge: Bridge, actor: Actor) -> None:
    """Sign oneself out everywhere, here too."""
    if actor.person_id is not None:
        _end_sign_ins(bridge, actor.person_id)


def find_person(bridge: Bridge, actor: Actor, email: str) -> Person:
    """Find a person by address, for the command line. Raises NotFound, NotAllowed."""
    address = roles.normal(email)
    for view in list_people(bridge, actor):
        if view.person.email == address:
            return view.person
    raise NotFound(f"No one has the address {address}.", advice="See the list: `python -m core people list`.")


def _end_sign_ins(bridge: Bridge, person_id: int) -> Person:
    now = bridge.clock.now()
    return _known(people.end_sign_ins(bridge.engine, person_id, reason=SIGNED_OUT_EVERYWHERE, now=now))


def _known(person: Person | None) -> Person:
    if person is None:
        raise NotFound("There is no such person.", advice="Reload the page.")
    return person


def checked_address(email: str) -> str:
    """Return an e-mail address in the one form in which it is compared. Raises SettingsError."""
    address = roles.normal(email)
    if not _ADDRESS.fullmatch(address) or len(address) > ADDRESS_LENGTH:
        raise SettingsError("Address: this is not an e-mail address.")
    return address


def checked_role(text: str) -> Role:
    """Return the role of a name. Raises SettingsError."""
    try:
        return Role[text.strip().upper()]
    except KeyError:
        raise SettingsError("Role: choose viewer, analyst or admin.") from None


def _view(bridge: Bridge, person: Person) -> PersonView:
    fixed = roles.is_fixed_admin(bridge.settings, person.email)
    return PersonView(person, roles.get_role(bridge.settings, person), fixed)


def _require_changeable(bridge: Bridge, person: Person) -> None:
    if roles.is_fixed_admin(bridge.settings, person.email):
        raise SettingsError(
            f"{person.email} is an admin by COHORT_BRIDGE_ADMINS.", advice="Take the address out of that setting first."
        )


def _require_another_admin(bridge: Bridge, person: Person, enabled: Sequence[Person]) -> None:
    """Refuse to take the last admin away, who alone could undo it. Raises SettingsError."""
    admins = {other.id for other in enabled if roles.get_role(bridge.settings, other) is Role.ADMIN}
    if admins == {person.id} and not roles.addresses(bridge.settings.admins):
        raise SettingsError(
            "This is the last admin: no one could manage people any more.", advice="Make someone else an admin first."
        )
