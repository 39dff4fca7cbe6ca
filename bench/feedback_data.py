"""A large data set of feedback, made by the engine itself from numbers and a seed: the same seed, the same rows.

Realistic where it matters to a query: three projects of very different size, time of day and day of week, votes that
are undone or changed later, comments on few of them, retransmissions and corrections in later parts, client ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

PROJECTS = ("large", "middle", "small")
DAYS = 90
END = datetime(2026, 11, 22, tzinfo=UTC)

_WEEKDAY = (1.15, 1.2, 1.2, 1.15, 1.0, 0.65, 0.65)
_EVENTS_A_TRACE = 1.36
"""As the shares below make it: 1 vote, 0.28 that come later, 0.08 custom events."""

_AGAIN = 0.03
_CORRECTED = 0.01

# `t` numbers the trace over the whole data set, `k` its events: 0 the vote, 1 what came later, 2 a custom event.
_ROWS = """
WITH
    {seed} AS seed,
    (salt, number) -> cityHash64(seed, salt, number) / 18446744073709551616. AS chance,
    [1, 1, 1, 1, 1, 2, 4, 8, 14, 18, 19, 18, 16, 17, 18, 17, 15, 12, 9, 8, 7, 5, 3, 2] AS hours,
    arrayCumSum(hours) AS passed,
    ['good answer', 'wrong', 'the second step is missing', 'too long', 'thanks, that was it', 'outdated price',
     'does not answer what I asked', 'hallucinated a function that does not exist', 'perfect', 'please in German',
     'the link is dead', 'slow', 'cites nothing', 'great summary', 'repeats itself', 'misread the table'] AS phrases
SELECT
    multiIf(chance('p', t) < 0.7, 'large', chance('p', t) < 0.95, 'middle', 'small') AS project_id,
    if(chance('s', t) < 0.6, 'langwatch', 'lunary') AS source,
    lower(hex(sipHash128(seed, t))) AS trace_id,
    reinterpretAsUInt128(sipHash128(seed, t, k)) AS dedupe_id,
    if(source = 'langwatch' AND chance('e', t * 4 + k) < 0.02, toDateTime64(0, 6, 'UTC'), at) AS key_time,
    multiIf(source = 'lunary', 'feedback', k = 2, 'waited_to_finish', 'thumbs_up_down') AS event_type,
    at AS timestamp, 'client' AS time_status,
    at + toIntervalMicrosecond(toUInt64(200000 + 2000000 * chance('r', t * 4 + k)) + {later}) AS received_at,
    bitShiftLeft(toUInt128(toUnixTimestamp64Micro(received_at)), 64) + bitShiftLeft(toUInt128(t % 1048576), 20) AS version,
    multiIf(k = 2, NULL, k = 1, multiIf(chance('w', t) < 0.4, 0., chance('w', t) < 0.7, -1., NULL),
            chance('v', t) < 0.76 + 0.06 * sin({day} / 9.), 1., -1.) AS first_vote,
    if({corrected}, -first_vote, first_vote) AS vote,
    multiIf(k = 2, NULL, k = 1 AND isNull(vote), phrase, k = 1, NULL, chance('c', t) < if(vote < 0, 0.2, 0.03), phrase, NULL)
        AS comment,
    multiIf(k = 2, map('finished', toFloat64(chance('f', t) < 0.8)), source = 'langwatch', map('vote', ifNull(vote, 0.)),
            map()) AS metrics,
    if(k = 2, CAST(map(), 'Map(String, Nullable(String))'), mapUpdate(
        CAST(map('model', ['gpt-5.1', 'claude-4', 'mistral-3', 'llama-5-70b'][1 + toUInt8(4 * pow(chance('m', t), 2))],
            'locale', ['en', 'de', 'fr', 'ja', 'pt'][1 + toUInt8(5 * pow(chance('l', t), 3))],
            'version', concat('2026.', toString(10 + intDiv({day}, 10)))), 'Map(String, Nullable(String))'),
        CAST(if(isNull(comment) OR source = 'lunary', map(), map('feedback', assumeNotNull(comment))),
             'Map(String, Nullable(String))'))) AS details,
    concat('user-', toString(toUInt32(200000 * pow(chance('u', t), 3)))) AS user_id,
    concat('thread-', toString(intDiv(t, 3))) AS thread_id,
    if(toUnixTimestamp64Micro(key_time) = 0, concat('id-', toString(t * 4 + k)), NULL) AS event_id,
    toUUID(reinterpretAsUUID(sipHash128(seed, t, k, {later}))) AS request_id,
    0 AS event_index, '' AS entry_id,
    concat('{{"trace_id":"', trace_id, '","event_type":"', event_type, '","metrics":', toJSONString(metrics),
           ',"event_details":', toJSONString(details), ',"timestamp":', toString(toUnixTimestamp64Milli(at)),
           ',"user_id":"', user_id, '"}}') AS raw
FROM (
    SELECT {first} + number AS t,
           arrayJoin(arrayFilter(k -> k = 0 OR (k = 1 AND chance('k1', t) < 0.28) OR (k = 2 AND chance('k2', t) < 0.08),
                                 [0, 1, 2])) AS k,
           passed[-1] * chance('h', t) AS pick,
           arrayFirstIndex(upto -> upto > pick, passed) AS hour,
           phrases[1 + toUInt8(16 * chance('t', t))] AS phrase,
           toDateTime64('{midnight}', 6, 'UTC')
               + toIntervalMillisecond(toUInt64((hour - 1 + (pick - passed[hour] + hours[hour]) / hours[hour]) * 3600000))
               + toIntervalMillisecond(multiIf(k = 0, 0, k = 2, 4000, toUInt64(20000 * exp(9 * chance('d', t))))) AS at
    FROM numbers({count})
)
WHERE {chosen}
"""

_COLUMNS = """
project_id, source, trace_id, dedupe_id, key_time, event_type, timestamp, time_status, received_at, version, vote,
comment, metrics, details, user_id, thread_id, event_id, request_id, event_index, entry_id, raw
"""


@dataclass(frozen=True)
class Day:
    """One day's traces, numbered from ``first``."""

    number: int
    first: int
    traces: int

    @property
    def midnight(self) -> datetime:
        return END - timedelta(days=DAYS - self.number)


def days(events: int) -> Iterator[Day]:
    """The days that make up about so many events, busier on working days."""
    weights = [_WEEKDAY[(END - timedelta(days=DAYS - day)).weekday()] for day in range(DAYS)]
    first = 0
    for day, weight in enumerate(weights):
        traces = round(events / _EVENTS_A_TRACE * weight / sum(weights))
        yield Day(day, first, traces)
        first += traces


def insert_day(client: Client, day: Day, seed: int) -> None:
    """First the deliveries, then in inserts of their own those that came again and those that were corrected."""
    _insert(client, day, seed, later="0", corrected="false", chosen="true")
    again = f"chance('again', t * 4 + k) < {_AGAIN}"
    _insert(client, day, seed, later="30000000", corrected="false", chosen=again)
    corrected = f"k = 0 AND chance('corrected', t) < {_CORRECTED}"
    _insert(client, day, seed, later="90000000", corrected="true", chosen=corrected)


def _insert(client: Client, day: Day, seed: int, *, later: str, corrected: str, chosen: str) -> None:
    rows = _ROWS.format(
        seed=seed,
        day=day.number,
        first=day.first,
        count=day.traces,
        midnight=day.midnight.strftime("%Y-%m-%d %H:%M:%S"),
        later=later,
        corrected=corrected,
        chosen=chosen,
    )
    client.command(
        f"INSERT INTO feedback_events ({_COLUMNS}) SELECT {_COLUMNS} FROM ({rows})",
        settings={"async_insert": 0, "insert_deduplicate": 0},
    )
