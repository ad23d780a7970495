"""What the readers read, as a table: printed, and kept in docs/reliability.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.counterparts.compare import PAGE_SIZE, Compared

BEGIN, END = "<!-- counterparts -->", "<!-- /counterparts -->"
_HEADER = ("reader", "version", "cohorts read", "profiles", "compared", "equal")


@dataclass(frozen=True)
class Result:
    """What became of one reader."""

    package: str
    version: str
    compares: str
    cohorts: Sequence[Compared] = ()
    missing: str = ""  # why it did not run
    allowed: bool = False  # it may be missing here
    notes: tuple[str, ...] = field(default=())

    @property
    def is_right(self) -> bool:
        """Return whether it read something, and nothing else than the cohorts."""
        if self.missing:
            return self.allowed
        read = [compared for compared in self.cohorts if not compared.cannot]
        return bool(read) and not any(compared.differs for compared in read)


def format_table(results: Sequence[Result]) -> str:
    """Return the table in Markdown, padded so that it reads well in a terminal, and what is to be said below it."""
    rows = [_HEADER, *map(_row, results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    said = [f"- {result.package} {text}." for result in results for text in _remarks(result)]
    return "\n".join([*lines, "", *said]).rstrip() + "\n"


def keep(table: str, page: Path) -> None:
    """Put the table between its marks on a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, found, after = rest.partition(END)
    assert found, f"{page.name} has no place for the table"
    page.write_text(f"{before}{BEGIN}\n{table}{END}{after}", encoding="utf-8")


def _row(result: Result) -> tuple[str, ...]:
    if result.missing:
        return result.package, result.version, "-", "-", "-", "not installed"
    read = [compared for compared in result.cohorts if not compared.cannot]
    return (
        result.package,
        result.version,
        f"{len(read)} of {len(result.cohorts)}",
        f"{sum(compared.read for compared in read):,}",
        result.compares,
        "yes" if result.is_right else "NO",
    )


def _remarks(result: Result) -> list[str]:
    if result.missing:
        return [f"did not run: {result.missing}"]
    differing = [f"differs at cohort {each.cohort}: {each.differs}" for each in result.cohorts if each.differs]
    unread = [f"cannot read cohort {each.cohort}: {each.cannot}" for each in result.cohorts if each.cannot]
    partly = sum(each.partly for each in result.cohorts)
    part = (
        [f"asks for no page after the first: of {partly} larger cohorts {PAGE_SIZE:,} profiles each are compared"]
        if partly
        else []
    )
    return [*differing, *unread, *part, *result.notes]
