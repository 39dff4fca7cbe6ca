"""Reading one run's feedback back from ClickHouse: patches merged in their order in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from shared.cluster import EVERYWHERE
from shared.errors import InvalidEventError, MalformedJSONError, StoreUnavailableError
from shared.events import Source
from shared.formats import lunary
from shared.formats.nodejson import loads
from shared.storage import describe

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_QUERY = """
WITH (
    SELECT max(trace_id) FROM trace_aliases
    WHERE project_id = {project:String} AND source = {source:String} AND alias = {trace:String}
) AS known,
if(known = '', {trace:String}, known) AS own,
ids AS (
    SELECT own AS id UNION ALL
    SELECT alias FROM trace_aliases_by_trace
    WHERE project_id = {project:String} AND source = {source:String} AND trace_id = own
)
SELECT tupleElement(e.standing, 1) AS raw, tupleElement(e.standing, 2) AS vote, tupleElement(e.standing, 3) AS comment,
       tupleElement(e.standing, 4) AS metrics, tupleElement(e.standing, 5) AS details
FROM (
    SELECT dedupe_id, argMax(tuple(raw, vote, comment, metrics, details), version) AS standing
    FROM feedback_events
    WHERE project_id = {project:String} AND source = {source:String} AND trace_id IN (SELECT id FROM ids)
    GROUP BY dedupe_id
) AS e
INNER JOIN (
    SELECT dedupe_id, min(first_received) AS first, tupleElement(max(standing), 'client_time') AS client_time,
           if(isNull(client_time), first, least(assumeNotNull(client_time), first)) AS happened
    FROM feedback_by_trace
    WHERE project_id = {project:String} AND source = {source:String} AND trace_id IN (SELECT id FROM ids)
    GROUP BY dedupe_id
) AS t ON e.dedupe_id = t.dedupe_id
ORDER BY t.happened, t.first, t.dedupe_id
"""
# All ids of the run count, as the table of aliases knows them.
# First receipts come from feedback_by_trace, since a merge of feedback_events forgets them.

_THUMBS = {1.0: "up", -1.0: "down", 0.0: None}
_BOOLEANS = {"true": True, "false": False}


class FeedbackReader:
    """``open_client``: blocking; raises StoreUnavailableError. ``size``: threads, each with a client of its own.
    ``timeout``: seconds for one question, waiting for a free thread included.
    """

    def __init__(self, open_client: Callable[[], Client], size: int, timeout: float) -> None:
        self._open_client = open_client
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="feedback-reader")
        self._idle: list[Client] = []

    async def feedback(self, project_id: str, run_id: str) -> dict[str, Any] | None:
        """The keys of a run's feedback with what was last said of each; None if nothing was ever said.

        Raises StoreUnavailableError when ClickHouse does not tell in time.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                rows = await loop.run_in_executor(self._threads, self._rows, project_id, run_id)
        except TimeoutError as error:
            raise StoreUnavailableError("clickhouse", f"no answer within {self._timeout} s") from error
        merged: dict[str, Any] = {}
        for row in rows:
            merged.update(_values(*row))
        return merged or None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for client in self._idle:
            client.close()

    def _rows(self, project_id: str, run_id: str) -> list[tuple[Any, ...]]:
        # Lists are safe to share between threads for this: one takes what another put back.
        client = self._idle.pop() if self._idle else self._open_client()
        try:
            parameters = {"project": project_id, "source": str(Source.LUNARY), "trace": run_id}
            found = client.query(_QUERY, parameters, settings=EVERYWHERE, column_formats={"raw": "bytes"})
            rows = [tuple(row) for row in found.result_rows]
        except (ClickHouseError, OSError) as error:
            client.close()
            raise StoreUnavailableError("clickhouse", describe(error)) from error
        self._idle.append(client)
        return rows


def _values(
    raw: bytes,
    vote: float | None,
    comment: str | None,
    metrics: Mapping[str, float],
    details: Mapping[str, str | None],
) -> dict[str, Any]:
    """What one event touches, with the client's own JSON values as long as its raw JSON is kept."""
    if raw:
        try:
            patch = lunary.read(raw)
        except (InvalidEventError, MalformedJSONError):
            patch = None
        if patch is not None:
            return patch.values
    values: dict[str, Any] = {}
    if vote is not None:
        values["thumb"] = _THUMBS.get(vote)
    if comment is not None:
        values["comment"] = comment
    for name, text in details.items():
        values[name] = _json_value(text, is_number=name in metrics)
    return values


def _json_value(text: str | None, *, is_number: bool) -> Any:
    """The value behind a detail: numbers and booleans have a metric too, nested ones are kept as their JSON."""
    if text is None:
        return None
    if is_number:
        return _BOOLEANS[text] if text in _BOOLEANS else loads(text.encode())
    if text[:1] in ("{", "["):
        try:
            return loads(text.encode())
        except MalformedJSONError:
            return text
    return text
