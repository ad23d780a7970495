"""The results that are kept as tables, and as part of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import goals
from bench.cases import OTHERS, OURS, PARTS, QUICK, UTILS, Sizes
from bench.goals import Results, floor_s
from bench.kept import Row, newest

ALONE = ("many", "stop")  # parts that are compared with nothing
STEPS = "steps"

_ALONE_STEPS = "Processor seconds a million profiles, of each step of reading alone:"
_BEGIN, _END = "<!-- measured -->", "<!-- /measured -->"
_HEADER = (
    "| profiles | latency | page size | reader | wall | times floor | times mixpanel-utils | peak memory "
    "| processor | server's | requests | messages |",
    "| ---: | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
)


def tables(*, quick: bool = False) -> str:
    """Format all that is kept: on what it was measured, the goals, the rows, and where a run's time goes."""
    kept = {part: newest(part, quick=quick) for part in (*PARTS, *ALONE, STEPS)}
    found = {part: document for part, document in kept.items() if document}
    if not found:
        return "Nothing was measured yet."
    failed = [row for document in found.values() for row in document["rows"] if "failed" in row]
    for document in found.values():
        document["rows"] = [row for row in document["rows"] if "failed" not in row]
    results = Results({part: document["rows"] for part, document in found.items()}, QUICK if quick else Sizes())
    rows = [(row, part) for part, document in found.items() for row in document["rows"]]
    measured = [_row(row, results.parts[part]) for row, part in rows if part in PARTS]
    texts = [f"{_ALONE_STEPS}\n\n{found[STEPS]['text']}"] if STEPS in found and found[STEPS]["text"] else []
    parts = [
        "A quick look: of cohorts of a tenth of what the goals are meant for." if quick else "",
        _machine(found),
        goals.table(results),
        "\n".join([*_HEADER, *measured]),
        "\n".join(f"- **Failed**: {row['reader']}, {row['size']:,} at {row['latency_ms']} ms" for row in failed),
        _alone([row for row, part in rows if part in ALONE]),
        _steps([row for row, part in rows if row["steps"]]),
        *texts,
    ]
    return "\n\n".join(filter(None, parts))


def _machine(found: dict[str, dict[str, Any]]) -> str:
    newest_one = max((document["machine"] for document in found.values()), key=lambda machine: machine["date"])
    dates = sorted({document["machine"]["date"] for document in found.values()})
    loads = [sample["load"] for document in found.values() for row in document["rows"] for sample in row["samples"]]
    rounds = {len(row["samples"]) for document in found.values() for row in document["rows"]}
    return (
        f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}, {newest_one['cores']} cores shared by reader and "
        f"server, {newest_one['system']}, Python {newest_one['python']}; {newest_one['libraries']}. Rounds: "
        f"{' or '.join(map(str, sorted(rounds)))}. Load average before each measurement: "
        f"{min(loads, default=0):.1f} to {max(loads, default=0):.1f}."
    )


def _row(row: Row, others: Sequence[Row]) -> str:
    walls = [sample["wall_s"] for sample in row["samples"]]
    in_thousands = row["reader"] in OTHERS or (row["reader"] == OURS and not row["honors"])
    floor = floor_s(row["size"], row["latency_ms"]) if in_thousands else 0.0
    utils = [other for other in others if _key(other) == (UTILS, row["size"], row["latency_ms"])]
    spread = f" ({min(walls):.2f} to {max(walls):.2f})" if len(walls) > 1 else ""
    cells = (
        f"{row['size']:,}",
        f"{row['latency_ms']} ms",
        "" if row["reader"] in OTHERS else "honored" if row["honors"] else "ignored",
        row["reader"],
        f"{row['wall_s']:.2f} s{spread}",
        f"{row['wall_s'] / floor:.2f}" if floor else "",
        f"{row['wall_s'] / utils[0]['wall_s']:.2f}" if utils else "",
        f"{row['peak_mib']:.0f} MiB",
        f"{row['cpu_s']:.2f} s",
        f"{row['server_cpu_s']:.2f} s",
        f"{row['requests']:,}",
        f"{row['messages']:,}" if row["messages"] else "",
    )
    return f"| {' | '.join(cells)} |"


def _key(row: Row) -> tuple[str, int, int]:
    return row["reader"], row["size"], row["latency_ms"]


def _alone(rows: Sequence[Row]) -> str:
    lines = [
        "| in one worker | profiles in each | seconds | processor | processor a run | median run | peak memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        more = row["more"]
        each = f"{more['cpu_s_a_run']:.3f} s | {more['median_run_s']:.2f} s" if "cpu_s_a_run" in more else "|"
        lines.append(
            f"| {row['reader']} | {row['size']:,} | {row['wall_s']:.1f} | {row['cpu_s']:.1f} s | {each} "
            f"| {row['peak_mib']:.0f} MiB |"
        )
    return "\n".join(lines) if rows else ""


def _steps(rows: Sequence[Row]) -> str:
    """Format how long each step of our runs took, as their logs say: from a run's start, not that of its process."""
    names = list(dict.fromkeys(name for row in rows for name in row["steps"]))
    lines = [
        f"| seconds of a run, by step: profiles | latency | page size | what | {' | '.join(names)} |",
        f"| ---: | ---: | --- | --- | {' | '.join('---:' for _ in names)} |",
    ]
    for row in rows:
        cells = [f"{row['steps'][name]:.2f}" if name in row["steps"] else "" for name in names]
        how = "honored" if row["honors"] else "ignored"
        lines.append(f"| {row['size']:,} | {row['latency_ms']} ms | {how} | {row['reader']} | {' | '.join(cells)} |")
    return "\n".join(lines) if rows else ""


def write(path: Path, text: str) -> None:
    """Put the tables between the two marks of the document; what people wrote around them stays."""
    before, _, rest = path.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    path.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}", encoding="utf-8")
