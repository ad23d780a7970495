"""What is kept of a person, in numbers: no id is in them."""

from __future__ import annotations

from dataclasses import dataclass

# What people are told before and after: nothing that a receiver holds is changed by it.
GROUPS_STAY = (
    "Groups are not touched: the cohort decides who is in them. If the person is still in the cohort, the next run "
    "writes them to the group and keeps them here again."
)


@dataclass(frozen=True)
class Traces:
    """What is kept of a person.

    `distinct_ids` and `apptimize_ids` count the ids that belong together. Of each kind of file the rows are counted.
    `unreadable` files may hold the person or not, and are removed; `leftovers` are files that nothing names any more.
    """

    distinct_ids: int = 0
    apptimize_ids: int = 0
    members: int = 0
    changes: int = 0
    excluded: int = 0
    association_rows: int = 0
    unreadable: int = 0
    leftovers: int = 0
    log_entries: int = 0
    groups_in_doubt: int = 0
    groups_only_adding: int = 0

    @property
    def are_any(self) -> bool:
        """Whether anything is kept of the person."""
        return any((self.members, self.changes, self.excluded, self.association_rows, self.leftovers, self.log_entries))


def list_found(traces: Traces) -> list[str]:
    """List in words what is, or was, kept of the person; what there is none of is left out."""
    kinds = (
        (traces.distinct_ids, "distinct id", "distinct ids that belong together"),
        (traces.apptimize_ids, "Apptimize id, or other id of a destination", "Apptimize ids, or ids of destinations"),
        (traces.members, "place among the members of groups as of a run", "places among members of groups as of runs"),
        (traces.changes, "change of a group", "changes of groups"),
        (traces.excluded, "profile that a read left out", "profiles that reads left out"),
        (traces.association_rows, "row of associations, with its outcome", "rows of associations, with their outcomes"),
        (traces.log_entries, "place in the logs", "places in the logs"),
        (traces.leftovers, "file that nothing used any more", "files that nothing used any more"),
        (
            traces.unreadable,
            "damaged file, in which no one can be found",
            "damaged files, in which no one can be found",
        ),
    )
    return [f"{count:,} {one if count == 1 else many}" for count, one, many in kinds if count]


def list_consequences(traces: Traces) -> list[str]:
    """List in sentences what it means for groups that were given the person."""
    sentences = list[str]()
    if traces.groups_in_doubt:
        one = traces.groups_in_doubt == 1
        subject = "1 group that was" if one else f"{traces.groups_in_doubt:,} groups that were"
        sentences.append(f"{subject} given the person {'is' if one else 'are'} written in full by the next run.")
    if traces.groups_only_adding:
        one = traces.groups_only_adding == 1
        subject = "1 of them is" if one else f"{traces.groups_only_adding:,} of them are"
        sentences.append(
            f"{subject} at a receiver that only adds, where no one can be removed by an id that is not kept: the next "
            "run is held there until somebody applies it. Remove the person at that receiver by hand."
        )
    return sentences
