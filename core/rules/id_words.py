"""What the id is called that a group knows people by, wherever one is shown or counted. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.rules.matching import MatchRule, read_rule
from data.models import MemberId


@dataclass(frozen=True)
class IdWords:
    """What the id of a member is called, and how members came to be; each text is English that can be shown.

    `name` stands within a sentence, `title` over a column. `members` and `unmatched` say what profiles with, and
    without, an id are, and `search` what a member is searched by. `how` says in which way a cohort was matched, as the
    end of a sentence, and `note` tells people that a group does not hold Apptimize ids; both may be empty. `code` is
    for scripts.
    """

    name: str
    title: str
    members: str
    unmatched: str
    search: str
    how: str = ""
    note: str = ""
    code: str = "apptimize"

    @property
    def is_apptimize(self) -> bool:
        """Whether it is the Apptimize id."""
        return self.code == "apptimize"

    @property
    def column(self) -> str:
        """The name of the id in a file for spreadsheets."""
        return "apptimize_id" if self.is_apptimize else "member_id"


def id_words(matched_by: str, *, escape: Callable[[str], str] = str) -> IdWords:
    """Return the words for what a run or a group was matched by; empty: by Apptimize ids, as groups once all were.

    `escape` makes the name of a property safe to show.
    """
    rule = read_rule(matched_by)
    if rule is None or rule.is_apptimize:
        return _apptimize(rule, escape)
    if rule.member_id is MemberId.DISTINCT:
        return IdWords(
            name="distinct id",
            title="Distinct id",
            members="Every profile, once: what the group holds.",
            search="Part of a distinct id",
            unmatched="None: every profile is matched by its distinct id.",
            how="matched by distinct id",
            note="Every profile of the cohort is a member, matched or not: this destination knows people by their "
            "distinct id.",
            code="distinct",
        )
    name = escape(rule.match_property)
    return IdWords(
        name=name,
        title=name,
        members=f"Distinct, usable values of {name}: what the group holds.",
        search=f"Part of a {name} or a distinct id",
        unmatched=f"Profiles without {name}. This destination cannot know them.",
        how=f"matched on {name}",
        note=f"This destination knows people by the profile property {name}, and not by their Apptimize id.",
        code="property",
    )


def _apptimize(rule: MatchRule | None, escape: Callable[[str], str]) -> IdWords:
    return IdWords(
        name="Apptimize id",
        title="Apptimize id",
        members="Distinct, usable Apptimize ids: what the group holds.",
        search="Part of an Apptimize id or a distinct id",
        unmatched="Profiles without an Apptimize id. They cannot be targeted.",
        how=f"matched on {escape(rule.match_property)} ({rule.id_merge} ID merge)" if rule else "",
    )
