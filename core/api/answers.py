"""What each address of the HTTP API answers: the JSON of the commands, read and queued by the same actions."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from starlette.responses import Response

from core.api.asked import Asked, whole
from core.api.responses import json_response
from core.reports.lookup_json import in_group_as_json
from core.reports.member_check import check_member
from core.syncs import groups, listing, recurring, runs
from core.syncs.as_json import group_as_json, run_as_json, sync_as_json
from core.text import MOST_ID
from data.models import UNFINISHED, Run

T = TypeVar("T")
log = logging.getLogger(__name__)

LONGEST_WAIT_S = 60
_LOOK_EVERY_S = 0.5
_ROWS, _MOST_ROWS = 100, 1000
OPENAPI = Path(__file__).with_name("openapi.json")


async def show_openapi(asked: Asked) -> Response:
    """Answer with the description of the API."""
    asked.query()
    return json_response(_openapi())


@cache
def _openapi() -> object:
    return json.loads(OPENAPI.read_text(encoding="utf-8"))


async def list_syncs(asked: Asked) -> Response:
    """List the syncs that were not removed, by id."""
    after, limit = _page_of(asked)
    views = await asked.call(partial(listing.list_syncs, asked.bridge, asked.actor, after=after, limit=limit + 1))
    return _page(asked, views, limit, [view.sync.id for view in views], sync_as_json)


async def queue_run(asked: Asked) -> Response:
    """Queue a run of a sync for a worker, or return the one that is not finished yet."""
    asked.query()
    sync_id = asked.number("sync_id")
    run = await asked.call(partial(recurring.run_now, asked.bridge, asked.actor, sync_id))
    log.info("run asked for over http run_id=%s token_id=%s", run.id, asked.actor.token_id)
    return json_response(run_as_json(run), 202, {"Location": f"/api/v1/runs/{run.id}"})


async def show_run(asked: Asked) -> Response:
    """Show a run: as it is, or once it has ended, or as it is after so many seconds."""
    wait_s = whole(asked.query("wait"), "wait", 0, least=0, most=LONGEST_WAIT_S)
    look = partial(runs.get_run, asked.bridge, asked.actor, asked.number("run_id"))
    run = await asked.call(look)
    if wait_s and run.status in UNFINISHED:
        with asked.places.waiters.taken():
            steady_s = asked.bridge.clock.steady_s
            until_s = steady_s() + wait_s
            while run.status in UNFINISHED and (left_s := until_s - steady_s()) > 0:
                await asyncio.sleep(min(_LOOK_EVERY_S, left_s))
                if asked.places.closing.is_set() or await asked.request.is_disconnected():
                    break
                run: Run = await asked.call(look)
    return json_response(run_as_json(run))


async def list_groups(asked: Asked) -> Response:
    """List the groups that were delivered, by id."""
    after, limit = _page_of(asked)
    rows = await asked.call(partial(groups.list_delivered, asked.bridge, asked.actor, after=after, limit=limit + 1))
    return _page(asked, rows, limit, [group.id for group, _ in rows], lambda row: group_as_json(*row))


async def show_member(asked: Asked) -> Response:
    """Answer whether an id is in a group, as last delivered."""
    asked.query()
    group_id, member_id = asked.number("group_id"), asked.person("member_id")
    answer = await asked.call(partial(check_member, asked.bridge, asked.actor, group_id, member_id))
    return json_response(in_group_as_json(answer))


def _page_of(asked: Asked) -> tuple[int, int]:
    """Return after which id a page begins, and how many rows it has."""
    values = asked.query("limit", "cursor")
    limit = whole(values, "limit", _ROWS, least=1, most=_MOST_ROWS)
    return whole(values, "cursor", 0, least=0, most=MOST_ID), limit


def _page(
    asked: Asked, rows: Sequence[T], limit: int, ids: Sequence[int | None], as_json: Callable[[T], object]
) -> Response:
    """Answer with a page of rows; where there are more, `Link` leads to the next."""
    headers = dict[str, str]()
    if len(rows) > limit:
        path = asked.request.scope["raw_path"].decode("ascii")
        headers["Link"] = f'<{path}?limit={limit}&cursor={ids[limit - 1]}>; rel="next"'
    return json_response([as_json(row) for row in rows[:limit]], headers=headers)
