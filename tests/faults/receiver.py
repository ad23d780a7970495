"""A stand-in for Mixpanel's ingestion that is quick enough for a million rows: it counts how often each arrived."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.stage.serving import serving

USER, ID = "user-{:07}", "i_{:07}"
# Every so many rows one is refused, by its own number: which rows these are does not depend on the batch.
REFUSE_EVERY = 99_991


@dataclass
class Receiver:
    """Counts what arrived: users 1 to `rows`, each with the id of the same number."""

    rows: int
    url: str = ""
    set_times: bytearray = field(init=False)
    alias_times: bytearray = field(init=False)
    wrong: list[Any] = field(default_factory=list[Any])
    requests: int = 0
    most_records: int = 0
    most_bytes: int = 0
    on_request: Callable[[int], None] = lambda _: None

    def __post_init__(self) -> None:
        self.set_times, self.alias_times = bytearray(self.rows + 1), bytearray(self.rows + 1)

    async def engage(self, request: Request) -> Response:
        records = await self._records(request)
        refused = list[dict[str, Any]]()
        for index, record in enumerate(records):
            number = int(record["$distinct_id"][5:])
            if record["$set"] != {"$apptimize_user_id": ID.format(number)} or request.query_params["ip"] != "0":
                self.wrong.append(record)
            if number % REFUSE_EVERY == 0:
                refused.append({"index": index, "field": "", "message": f"refused {number}"})
            else:
                self.set_times[number] += 1
        return _answer(len(records), refused)

    async def import_(self, request: Request) -> Response:
        records = await self._records(request)
        for record in records:
            properties = record["properties"]
            number = int(properties["distinct_id"][5:])
            if record["event"] != "$create_alias" or properties["alias"] != ID.format(number):
                self.wrong.append(record)
            self.alias_times[number] += 1
        return _answer(len(records), [])

    async def _records(self, request: Request) -> list[Any]:
        body = await request.body()
        records = msgspec.json.decode(body)
        self.requests += 1
        self.most_records = max(self.most_records, len(records))
        self.most_bytes = max(self.most_bytes, len(body))
        self.on_request(self.requests)
        return records


def _answer(count: int, refused: list[dict[str, Any]]) -> Response:
    taken = count - len(refused)
    if not refused:
        return JSONResponse({"code": 200, "num_records_imported": taken, "status": "OK"})
    return JSONResponse(
        {
            "code": 400,
            "error": "some data points in the request failed validation",
            "failed_records": refused,
            "num_records_imported": taken,
            "status": "Bad Request",
        }
    )


@contextmanager
def receiving(rows: int) -> Generator[Receiver]:
    """Serve from a thread while inside."""
    receiver = Receiver(rows)
    app = Starlette(
        routes=[
            Route("/engage", receiver.engage, methods=["POST"]),
            Route("/import", receiver.import_, methods=["POST"]),
        ]
    )
    with serving(app) as port:
        receiver.url = f"http://127.0.0.1:{port}"
        yield receiver
