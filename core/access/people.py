"""People: who may come in, and as what. Nobody can take the last admin away."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlmodel import Session, col, select, update

from core.access import roles
from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.errors import NotFound, SettingsError
from data.engine import read_session, write_session
from data.models import Person, SignIn, utc_now

_EVERYWHERE = "You were signed out everywhere."
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")


@dataclass(frozen=True)
class PersonView:
    """A person, the role that counts, and whether COHORT_BRIDGE_ADMINS says so."""

    person: Person
    role: Role
    fixed: bool


@action(Role.ADMIN)
def list_people(bridge: Bridge, actor: Actor) -> list[PersonView]:
    """List everybody who signed in or was added, by address."""
    with read_session(bridge.engine) as session:
        found = session.exec(select(Person).order_by(col(Person.email))).all()
    return [_view(bridge, one) for one in found]


@action(Role.ADMIN)
def add_person(bridge: Bridge, actor: Actor, email: str, role: str = Role.VIEWER.label) -> Person:
    """Let somebody in before they sign in for the first time. Raises SettingsError naming the field."""
    address, granted = roles.normal(email), _role(role)
    if not _ADDRESS.fullmatch(address) or len(address) > 320:
        raise SettingsError("Address: this is not an e-mail address.")
    with write_session(bridge.engine) as session:
        if session.exec(select(Person).where(Person.email == address)).first():
            raise SettingsError(f"Address: {address} is there already.", advice="Change the role instead.")
        person = Person(email=address, role=granted.label)
        session.add(person)
    return person


@action(Role.ADMIN)
def change_role(bridge: Bridge, actor: Actor, person_id: int, role: str) -> Person:
    """Give a person another role; it counts at their next click. Raises NotFound, SettingsError."""
    granted = _role(role)
    with write_session(bridge.engine) as session:
        person = _changeable(bridge, session, person_id)
        if granted is not Role.ADMIN:
            _keep_an_admin(bridge, session, without=person)
        person.role = granted.label
        session.add(person)
    return person


@action(Role.ADMIN)
def disable_person(bridge: Bridge, actor: Actor, person_id: int) -> Person:
    """Shut a person out from their next click on; what they did stays. Raises NotFound, SettingsError."""
    with write_session(bridge.engine) as session:
        person = _changeable(bridge, session, person_id)
        _keep_an_admin(bridge, session, without=person)
        person.disabled = True
        session.add(person)
        _end_sign_ins(session, person)
    return person


@action(Role.ADMIN)
def enable_person(bridge: Bridge, actor: Actor, person_id: int) -> Person:
    """Let a person in again, with the role that they had. Raises NotFound."""
    with write_session(bridge.engine) as session:
        person = _person_in(session, person_id)
        person.disabled = False
        session.add(person)
    return person


@action(Role.ADMIN)
def end_sign_ins(bridge: Bridge, actor: Actor, person_id: int) -> Person:
    """Sign a person out everywhere, from their next click on. Raises NotFound."""
    with write_session(bridge.engine) as session:
        person = _person_in(session, person_id)
        _end_sign_ins(session, person)
    return person


@action(Role.VIEWER)
def end_my_sign_ins(bridge: Bridge, actor: Actor) -> None:
    """Sign oneself out everywhere, here too."""
    if actor.person_id is None:
        return
    with write_session(bridge.engine) as session:
        _end_sign_ins(session, _person_in(session, actor.person_id))


def find_person(bridge: Bridge, actor: Actor, email: str) -> Person:
    """Find a person by address, for the command line. Raises NotFound, NotAllowed."""
    address = roles.normal(email)
    found = [one.person for one in list_people(bridge, actor) if one.person.email == address]
    if not found:
        raise NotFound(f"Nobody has the address {address}.", advice="See the list: `python -m core people list`.")
    return found[0]


def _end_sign_ins(session: Session, person: Person) -> None:
    person.sign_ins_from = utc_now()
    session.add(person)
    # By the provider's clock a sign-in of before may be younger than that.
    open_ones = (col(SignIn.person_id) == person.id, col(SignIn.ended_at).is_(None))
    session.exec(update(SignIn).where(*open_ones).values(ended_at=person.sign_ins_from, ended_why=_EVERYWHERE))


def _role(text: str) -> Role:
    try:
        return Role[text.strip().upper()]
    except KeyError:
        raise SettingsError("Role: choose viewer, analyst or admin.") from None


def _view(bridge: Bridge, person: Person) -> PersonView:
    fixed = roles.is_fixed_admin(bridge.settings, person.email)
    return PersonView(person, roles.get_role(bridge.settings, person), fixed)


def _person_in(session: Session, person_id: int) -> Person:
    person = session.get(Person, person_id)
    if person is None:
        raise NotFound("There is no such person.", advice="Reload the page.")
    return person


def _changeable(bridge: Bridge, session: Session, person_id: int) -> Person:
    person = _person_in(session, person_id)
    if roles.is_fixed_admin(bridge.settings, person.email):
        raise SettingsError(
            f"{person.email} is an admin by COHORT_BRIDGE_ADMINS.", advice="Take the address out of that setting first."
        )
    return person


def _keep_an_admin(bridge: Bridge, session: Session, *, without: Person) -> None:
    """Refuse what would leave nobody who can undo it. Raises SettingsError."""
    enabled = session.exec(select(Person).where(col(Person.disabled).is_(False))).all()
    present = {one.id for one in enabled if roles.get_role(bridge.settings, one) is Role.ADMIN}
    if present == {without.id} and not roles.addresses(bridge.settings.admins):
        raise SettingsError(
            "This is the last admin: nobody could manage people any more.", advice="Make somebody else an admin first."
        )
