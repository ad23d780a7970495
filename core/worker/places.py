"""The places of one worker: so many runs at a time, and none of its destinations ever has all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class Places:
    """Who has which place. A destination that hangs keeps its own half, and runs of the others go on.

    Previews send nothing to a destination: they take a place, and no destination's. The only destination that there is
    shares with no one else, and leaves one place to them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: dict[int, int | None] = {}

    @property
    def free(self) -> int:
        """How many more runs may start."""
        return self._most - len(self._taken)

    def find_room(self, *, destinations: int) -> int:
        """Return how many runs may be looked for at once: of one destination no more than it has places left."""
        if destinations > 1 or not self.free:
            return self.free
        of_it = sum(destination is not None for destination in self._taken.values())
        return max(1, min(self.free, self._most_of_one(destinations) - of_it))

    def _most_of_one(self, destinations: int) -> int:
        return max(1, self._most // 2 if destinations > 1 else self._most - 1)

    def find_full(self, *, destinations: int, and_taken: Iterable[int | None] = ()) -> set[int]:
        """Return of which of so many destinations no more runs may start, where these places are taken as well."""
        most_of_one = self._most_of_one(destinations)
        taken = Counter(each for each in (*self._taken.values(), *and_taken) if each is not None)
        return {destination for destination, number in taken.items() if number >= most_of_one}

    def take(self, run_id: int, destination_id: int | None) -> None:
        """Give a run a place."""
        self._taken[run_id] = destination_id

    def keep_only(self, run_ids: set[int]) -> None:
        """Free the places of all other runs: they have ended."""
        self._taken = {run_id: destination for run_id, destination in self._taken.items() if run_id in run_ids}
