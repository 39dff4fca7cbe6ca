"""The statements that keep ``feedback_resolved`` up to the tables that workers fill.

One refresh takes the traces that changed and writes anew every row of theirs: which event decides a trace is a
function of all of its events, so nothing is carried over from what was there before, and twice is as good as once.
"""

from __future__ import annotations

SERVER_NOW = "SELECT toUnixTimestamp64Micro(now64(6))"

INSERTS_SINCE = """
SELECT toUnixTimestamp64Micro(inserted_at) AS stamp, count() AS rows
FROM feedback_changes
WHERE inserted_at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
GROUP BY stamp ORDER BY stamp
"""

CHANGED_BY_INSERTS = """
SELECT project_id, source, trace_id FROM feedback_changes
WHERE inserted_at >= fromUnixTimestamp64Micro({first:Int64}, 'UTC')
  AND inserted_at <= fromUnixTimestamp64Micro({last:Int64}, 'UTC')
  AND toUnixTimestamp64Micro(inserted_at) IN {stamps:Array(Int64)}
"""

CHANGED_BY_RECEIPT = """
SELECT project_id, source, trace_id FROM feedback_by_trace
WHERE first_received >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
  AND first_received < fromUnixTimestamp64Micro({until:Int64}, 'UTC')
"""

# Instants of receipt that cut the table into parts of about the same size: what was received together lies together in
# feedback_events too, so that a part of it is read and not the whole.
CUTS = "SELECT quantiles({levels})(toUnixTimestamp64Micro(first_received)) FROM feedback_by_trace"

# All ids under which the changed traces are known (``id``), and the one that each counts under (``trace_id``).
_MEMBERS = "SELECT DISTINCT project_id, source, trace_id AS id, trace_id FROM changed"

_MEMBERS_WITH_ALIASES = """
SELECT project_id, source, id, trace_id FROM (
    SELECT project_id, source, alias AS id, argMax(trace_id, learnt_at) AS trace_id
    FROM trace_aliases
    WHERE (project_id, source, alias) IN (
        SELECT project_id, source, trace_id FROM changed
        UNION ALL
        SELECT project_id, source, alias FROM trace_aliases_by_trace
        WHERE (project_id, source, trace_id) IN (SELECT * FROM roots)
    )
    GROUP BY project_id, source, alias
)
WHERE (project_id, source, trace_id) IN (SELECT * FROM roots)
UNION ALL
SELECT project_id, source, trace_id AS id, trace_id FROM roots
"""

_ROOTS = """
SELECT DISTINCT c.project_id, c.source, if(a.root = '', c.trace_id, a.root) AS trace_id
FROM changed AS c
LEFT ANY JOIN (
    SELECT project_id, source, alias, argMax(trace_id, learnt_at) AS root
    FROM trace_aliases WHERE (project_id, source, alias) IN (SELECT project_id, source, trace_id FROM changed)
    GROUP BY project_id, source, alias
) AS a ON a.project_id = c.project_id AND a.source = c.source AND a.alias = c.trace_id
"""

ANY_ALIAS = "SELECT 1 FROM trace_aliases LIMIT 1"

# Identities of the changed traces, with what decides each trace. The order in time is that of feedback_current.
# The ids alone are asked for first: that spares most rows the look-up of all three, which costs three times as much.
_IDENTITIES = """
SELECT project_id, source, trace_id, row.1 AS dedupe_id, row.2 AS key_time, row.3.1 AS time, row.3.2 AS first,
       row.4 AS seen_at, row.5 AS vote, row.6 AS comment, row.3 AS ord, vote_ord, comment_ord, trace_vote, trace_comment
FROM (
    SELECT project_id, source, trace_id,
           groupArray((dedupe_id, key_time, ord, seen_at, said.vote, said.comment)) AS rows,
           maxIf(ord, said.vote IS NOT NULL)     AS vote_ord,
           maxIf(ord, said.comment IS NOT NULL)  AS comment_ord,
           argMax(said.vote, ord)                AS trace_vote,
           argMax(said.comment, ord)             AS trace_comment
    FROM (
        SELECT f.project_id AS project_id, f.source AS source, m.trace_id AS trace_id, dedupe_id,
               min(first_received) AS first, max(standing) AS said, max(key_time) AS key_time,
               min(first_inserted) AS seen_at,
               if(isNull(said.client_time), first, least(assumeNotNull(said.client_time), first)) AS time,
               (time, first, dedupe_id) AS ord
        FROM feedback_by_trace AS f
        INNER JOIN members AS m ON m.project_id = f.project_id AND m.source = f.source AND m.id = f.trace_id
        WHERE f.trace_id IN (SELECT id FROM members)
          AND (f.project_id, f.source, f.trace_id) IN (SELECT project_id, source, id FROM members)
        GROUP BY project_id, source, trace_id, dedupe_id
    )
    GROUP BY project_id, source, trace_id
)
ARRAY JOIN rows AS row
"""

_COLUMNS = """
project_id, time, dedupe_id, generation, gone, moved, source, trace_id, event_type, timestamp, time_status, received_at,
first_received, seen_at, vote, comment, metrics, details, user_id, thread_id, event_id, verdict, commented, holds,
is_current, current_vote, current_comment
"""

# An event that is identified by its client's id may be told another time; any other time is held to the first receipt.
_REWRITE = """
INSERT INTO feedback_resolved ({columns})
WITH changed AS ({changed}), {members}, identities AS ({identities})
SELECT i.project_id, i.time, i.dedupe_id, {{generation:UInt64}}, false,
       i.time != i.key_time OR toUnixTimestamp64Micro(i.key_time) = 0,
       i.source, i.trace_id, e.event_type, e.timestamp, e.time_status, e.received_at,
       i.first, i.seen_at,
       i.vote, i.comment, e.metrics, e.details, e.user_id, e.thread_id, e.event_id,
       multiIf(isNull(i.vote) OR i.ord != i.vote_ord, 'none', i.vote > 0, 'up', i.vote < 0, 'down', 'undone'),
       ifNull(i.comment != '', false) AND i.ord = i.comment_ord,
       (isNotNull(i.vote) AND i.ord = i.vote_ord) OR (isNotNull(i.comment) AND i.ord = i.comment_ord),
       (isNotNull(i.trace_vote) OR isNotNull(i.trace_comment))
           AND i.ord = greatest(i.vote_ord, i.comment_ord) AS current,
       if(current, i.trace_vote, NULL), if(current, i.trace_comment, NULL)
FROM identities AS i
INNER JOIN (
    SELECT project_id, dedupe_id, event_type, timestamp, time_status, received_at, metrics, details, user_id,
           thread_id, event_id
    FROM feedback_events FINAL
    WHERE (project_id, key_time, dedupe_id) IN (SELECT project_id, key_time, dedupe_id FROM identities)
) AS e ON e.project_id = i.project_id AND e.dedupe_id = i.dedupe_id
"""

# Of these events every row that stands was written by this generation: an older one lies where the event was before.
# Not by FINAL, so that the index may be used.
RETIRE = """
INSERT INTO feedback_resolved (project_id, time, dedupe_id, generation, gone, received_at)
SELECT project_id, time, dedupe_id, {generation:UInt64}, true, max(received_at)
FROM feedback_resolved
WHERE dedupe_id IN (SELECT dedupe_id FROM feedback_resolved WHERE generation = {generation:UInt64} AND moved)
GROUP BY project_id, time, dedupe_id
HAVING max(feedback_resolved.generation) < {generation:UInt64} AND NOT argMax(gone, feedback_resolved.generation)
"""

ANY_MOVED = "SELECT 1 FROM feedback_resolved WHERE generation = {generation:UInt64} AND moved LIMIT 1"


def rewrite(changed: str, *, aliases: bool) -> str:
    """Writes the rows of all traces that the query ``changed`` gives (project_id, source, trace_id), under whichever of
    their ids. ``aliases``: whether any are known.
    """
    members = f"members AS ({_MEMBERS})"
    if aliases:
        members = f"roots AS ({_ROOTS}), members AS ({_MEMBERS_WITH_ALIASES})"
    return _REWRITE.format(columns=_COLUMNS, changed=changed, members=members, identities=_IDENTITIES)


LOAD_STATE = """
SELECT toUnixTimestamp64Micro(as_of), generation FROM feedback_refreshes FINAL WHERE name = 'feedback_resolved'
"""

SAVE_STATE = """
INSERT INTO feedback_refreshes (name, as_of, generation)
SELECT 'feedback_resolved', fromUnixTimestamp64Micro({as_of:Int64}, 'UTC'), {generation:UInt64}
"""
