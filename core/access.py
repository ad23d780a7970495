"""People, roles, and who may do what: checked here for the browser and the command line alike."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Concatenate, ParamSpec, TypeVar

from core.bridge import Bridge, storage_errors
from core.errors import NotAllowed

P = ParamSpec("P")
T = TypeVar("T")


class Role(IntEnum):
    """What a person may do; each role may do all that the ones below it may."""

    VIEWER = 1
    ANALYST = 2
    ADMIN = 3

    @property
    def label(self) -> str:
        """The role as the screens and the database spell it."""
        return self.name.lower()


@dataclass(frozen=True)
class Actor:
    """The person who acts."""

    name: str
    role: Role


# Until sign-in exists, whoever can reach this machine's loopback address or terminal is its admin.
LOCAL = Actor("local", Role.ADMIN)

# Every action by name, with the role that it needs.
ACTIONS: dict[str, Role] = {}


def require(actor: Actor, role: Role) -> None:
    """Refuse when the person lacks the role. Raises NotAllowed."""
    if actor.role < role:
        raise NotAllowed(f"This needs the role {role.label}, and {actor.name} is {actor.role.label}.")


def action(
    role: Role,
) -> Callable[[Callable[Concatenate[Bridge, Actor, P], T]], Callable[Concatenate[Bridge, Actor, P], T]]:
    """Mark a function as something people do: its role is checked first, and storage failures become ours."""

    def wrap(function: Callable[Concatenate[Bridge, Actor, P], T]) -> Callable[Concatenate[Bridge, Actor, P], T]:
        ACTIONS[function.__name__] = role

        @functools.wraps(function)
        def checked(bridge: Bridge, actor: Actor, *args: P.args, **kwargs: P.kwargs) -> T:
            require(actor, role)
            with storage_errors():
                return function(bridge, actor, *args, **kwargs)

        return checked

    return wrap
