"""What the search box finds: groups, syncs and cohorts by name or number, and runs by number.

Nobody at a vendor is asked: cohorts are those of the list that was last shared. Names are compared as the lists of the
pages compare them, so that both find the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from core.access.roles import Actor, Role, action
from core.bridge import Bridge
from core.connections.cohort_list import last_names
from core.connections.lookup import choose_mixpanel
from core.connections.project import project_key
from core.text import parse_id
from data import connections, runs, search
from data.models import MIXPANEL_SIDE
from data.search import NamedRow

MOST_HITS = 20
# An id of a person has no blanks, and is rarely a word: else it is looked up where nothing else is found.
_LIKE_AN_ID = re.compile(r"\S*[\d_@$:-]\S*")
# A word and a number without anything between them may be an id.
_NUMBER = re.compile(r"(?:(group|sync|cohort|run)(?:\s+|\s*(?=#)))?#?\s*([0-9]+)", re.IGNORECASE)


class Kind(IntEnum):
    """What can be found; of two that bear the same name the first of these is listed first."""

    GROUP = 1
    SYNC = 2
    COHORT = 3
    RUN = 4


class _Match(IntEnum):
    EXACT = 1
    BEGINS = 2
    CONTAINS = 3


@dataclass(frozen=True)
class Hit:
    """Something that was found, with its name and where it is; `status` is that of a run, as people are told."""

    kind: Kind
    id: int
    name: str
    destination: str = ""
    status: str = ""


@dataclass(frozen=True)
class Findings:
    """What was found, the best first, and whether more matched than are listed."""

    hits: list[Hit]
    is_more: bool = False


@dataclass(frozen=True)
class _Asked:
    """What was entered: its words, compared without case, and the number that it is, of one kind or of any."""

    words: str
    number: int | None
    kind: Kind | None

    def is_number(self, kind: Kind, number: int) -> bool:
        # Nothing shows the number of a group but its address: one means it that is named so.
        return self.number == number and (self.kind is kind or (self.kind is None and kind is not Kind.GROUP))

    def match(self, kind: Kind, number: int, *names: str) -> _Match | None:
        """Return how well something matches by its number or one of its names, None if it does not."""
        folded = [name.casefold() for name in names]
        if self.is_number(kind, number) or self.words in folded:
            return _Match.EXACT
        if any(name.startswith(self.words) for name in folded):
            return _Match.BEGINS
        return _Match.CONTAINS if any(self.words in name for name in folded) else None


@action(Role.VIEWER)
def search_everything(bridge: Bridge, actor: Actor, text: str) -> Findings:
    """Find what bears a name or number, as far as the person may open it: exact ones first, then by how names begin."""
    asked = _read(text)
    if not asked.words:
        return Findings([])
    found = list(_find(bridge, asked, with_all=actor.role >= Role.ANALYST))
    found.sort(key=lambda each: (each[0], each[1].name.casefold(), each[1].kind, each[1].id))
    return Findings([hit for _, hit in found[:MOST_HITS]], is_more=len(found) > MOST_HITS)


def may_be_user_id(text: str, findings: Findings) -> bool:
    """Return whether a text is worth looking up as the id of a user: “run 12” is not, whether that is found or not."""
    words = text.strip()
    if not words or _read(words).kind is not None:
        return False
    return not findings.hits or bool(_LIKE_AN_ID.fullmatch(words))


def _read(text: str) -> _Asked:
    words = text.strip()
    numbered = _NUMBER.fullmatch(words)
    number = parse_id(numbered[2]) if numbered else None
    kind = Kind[numbered[1].upper()] if numbered and numbered[1] else None
    return _Asked(words.casefold(), number, kind)


def _find(bridge: Bridge, asked: _Asked, *, with_all: bool) -> Iterator[tuple[_Match, Hit]]:
    yield from _match_rows(Kind.GROUP, search.list_groups(bridge.engine), asked)
    if with_all:
        yield from _match_rows(Kind.SYNC, search.list_syncs(bridge.engine, asked.number), asked)
        yield from _find_cohorts(bridge, asked)
    yield from _find_run(bridge, asked)


def _match_rows(kind: Kind, rows: Iterable[NamedRow], asked: _Asked) -> Iterator[tuple[_Match, Hit]]:
    for row in rows:
        name = row.delivered_name or row.name
        if match := asked.match(kind, row.id, name, row.name, row.cohort_name, str(row.cohort_id)):
            yield match, Hit(kind, row.id, name, row.destination)


def _find_cohorts(bridge: Bridge, asked: _Asked) -> Iterator[tuple[_Match, Hit]]:
    project = choose_mixpanel(connections.list_side(bridge.engine, MIXPANEL_SIDE))
    if project is None:
        return
    for number, name in last_names(bridge, project_key(project)).items():
        if match := asked.match(Kind.COHORT, number, name, str(number)):
            yield match, Hit(Kind.COHORT, number, name)


def _find_run(bridge: Bridge, asked: _Asked) -> Iterator[tuple[_Match, Hit]]:
    if asked.number is None or not asked.is_number(Kind.RUN, asked.number):
        return
    if run := runs.get(bridge.engine, asked.number):
        yield _Match.EXACT, Hit(Kind.RUN, asked.number, run.group_name, run.destination, run.told_status)
