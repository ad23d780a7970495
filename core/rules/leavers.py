"""Whom a receiver that only adds may hold, as far as that is known. Pure.

Such a receiver removes nobody by itself: after all members were sent, a full write removes by name who may be there and
is not in the cohort. Who may be there:

| what happened to the group | who may be there | if it is not known of everybody |
| --- | --- | --- |
| nothing was ever delivered | nobody | held where another connection leads, or led, there (`place`) |
| the same, and the database was put back to an older one, which may lack the group | | held (`restored`) |
| the last delivery was accepted whole | its base, exactly | held where the base is lost |
| deliveries began since and were not confirmed | its base, and what each of them began with | held where one is lost |
| one of those was not recorded: an earlier version | | held (`delivery`) |
| the database was put back to an older one | | held (`restored`) |
| its address was changed, it was removed and entered again, a twin wrote there | | held (`place`) |
| another token, the first time | the same: removing who is not there does no harm | |
| another token again: it may be an earlier one, with what was delivered then | | held (`sign_in`) |
| another id of people, or another key for it | nobody can be removed under the new one | held (`member_id`) |
| it counted as one that replaces until now | | held (`replaced`) |
| somebody was forgotten here whom it was given, or may have been | | held (`forgotten`) |
| other users are read through the Mixpanel connection | the same as before | |

A run that was held and is applied once writes the cohort, and removes those that are known; then what the receiver
holds counts as known again, as people decided.
"""

from __future__ import annotations

from dataclasses import dataclass

# By what a group's `untraced` says: see data/proof_models.py.
_REASONS = {
    "delivery": "A delivery to it began that was not confirmed, and whom that was to add was not kept.",
    "restored": "The database may be older than what was delivered, so whom it was given since is not known.",
    "place": "This connection led elsewhere, or another one led there, so whom it was given is not known.",
    "sign_in": "Its sign-in was changed more than once, and an earlier one may lead to what was delivered then.",
    "member_id": "It was given people by another id, or under another key, and cannot be told to remove those.",
    "forgotten": "Somebody whom it may hold was forgotten here, and it cannot be told to remove them.",
    "replaced": "It was taken for one that replaces, so whom it kept of earlier overwrites is not known.",
}


@dataclass(frozen=True)
class Trace:
    """What is known of whom a receiver may hold. Damages are the ends of sentences on a file of members."""

    untraced: str | None  # of the group; before its first delivery, of what is known of its place
    base_damage: str | None  # of the members that were delivered last; None: they are there, or nothing was delivered
    tried_damage: str | None  # of any of those that deliveries began with since


def find_gap(trace: Trace) -> str | None:
    """Return why not everybody is known whom a receiver may hold, in a sentence; None: they are."""
    if trace.untraced is not None:
        return _REASONS[trace.untraced]
    if trace.base_damage is not None:
        return f"The file of the members that the group was given last {trace.base_damage}."
    if trace.tried_damage is not None:
        return f"A file of members that a delivery began with {trace.tried_damage}."
    return None
