-- What holds now: by one trace without reading any other, and on a cluster whichever shards the ids of a trace lie on.

-- The aliases that occur are found by a join rather than by IN, so that a condition on the project reaches all of it.
CREATE OR REPLACE VIEW feedback_current ${on_cluster} AS
SELECT project_id, source, trace_id,
       argMax(e.vote, e.ord)    AS vote,
       argMax(e.comment, e.ord) AS comment,
       argMaxIf(e.ord.1, e.ord, e.vote IS NOT NULL) AS vote_time,
       count() AS events, max(e.last) AS last_received
FROM (
    SELECT f.project_id AS project_id, f.source AS source, if(a.trace_id = '', f.trace_id, a.trace_id) AS trace_id,
           f.vote AS vote, f.comment AS comment, f.ord AS ord, f.last AS last
    FROM (
        SELECT project_id, source, trace_id, dedupe_id,
               min(first_received) AS first, max(last_received) AS last, max(standing) AS s,
               s.vote AS vote, s.comment AS comment,
               (if(isNull(s.client_time), first, least(assumeNotNull(s.client_time), first)), first, dedupe_id) AS ord
        FROM feedback_by_trace GROUP BY project_id, source, trace_id, dedupe_id
    ) AS f
    GLOBAL LEFT ANY JOIN (
        SELECT t.project_id AS project_id, t.source AS source, t.alias AS alias, argMax(t.trace_id, t.learnt_at) AS trace_id
        FROM trace_aliases AS t
        -- Most messages are never judged: only the aliases that occur are held while joining.
        GLOBAL LEFT SEMI JOIN (SELECT project_id, source, trace_id FROM feedback_by_trace) AS o
            ON o.project_id = t.project_id AND o.source = t.source AND o.trace_id = t.alias
        GROUP BY project_id, source, alias
    ) AS a ON a.project_id = f.project_id AND a.source = f.source AND a.alias = f.trace_id
) AS e
GROUP BY project_id, source, trace_id
COMMENT 'What holds now for each trace, after undo and later changes, whichever of its ids the feedback named: vote (0 = taken back, NULL = never voted), comment, when the deciding vote was given, how many distinct events. For a single trace ask feedback_of.';

CREATE OR REPLACE VIEW feedback_of ${on_cluster} AS
WITH
roots AS (
    SELECT s.source AS source, if(k.root = '', {trace:String}, k.root) AS trace_id
    FROM (SELECT arrayJoin(['langwatch', 'lunary']) AS source) AS s
    GLOBAL LEFT ANY JOIN (
        SELECT source, argMax(trace_id, learnt_at) AS root FROM trace_aliases
        WHERE project_id = {project:String} AND alias = {trace:String} GROUP BY source
    ) AS k ON k.source = s.source
),
members AS (
    SELECT source, id, trace_id FROM (
        SELECT t.source AS source, t.alias AS id, argMax(t.trace_id, t.learnt_at) AS trace_id
        FROM trace_aliases AS t
        WHERE t.project_id = {project:String} AND (t.source, t.alias) GLOBAL IN (
            SELECT source, alias FROM trace_aliases_by_trace
            WHERE project_id = {project:String} AND (source, trace_id) GLOBAL IN (SELECT source, trace_id FROM roots)
        )
        GROUP BY source, id
    )
    WHERE (source, trace_id) IN (SELECT source, trace_id FROM roots)
    UNION ALL
    SELECT source, trace_id AS id, trace_id FROM roots
)
SELECT {project:String} AS project_id, source, trace_id,
       argMax(e.vote, e.ord)    AS vote,
       argMax(e.comment, e.ord) AS comment,
       argMaxIf(e.ord.1, e.ord, e.vote IS NOT NULL) AS vote_time,
       count() AS events, max(e.last) AS last_received
FROM (
    SELECT f.source AS source, m.trace_id AS trace_id, f.dedupe_id AS dedupe_id,
           min(f.first_received) AS first, max(f.last_received) AS last, max(f.standing) AS s,
           s.vote AS vote, s.comment AS comment,
           (if(isNull(s.client_time), first, least(assumeNotNull(s.client_time), first)), first, dedupe_id) AS ord
    FROM feedback_by_trace AS f
    GLOBAL INNER JOIN members AS m ON m.source = f.source AND m.id = f.trace_id
    WHERE f.project_id = {project:String} AND (f.source, f.trace_id) GLOBAL IN (SELECT source, id FROM members)
    GROUP BY source, trace_id, dedupe_id
) AS e
GROUP BY source, trace_id
COMMENT 'The row of feedback_current for one trace, by any of its ids, reading no other: SELECT * FROM feedback_of(project = ''shop'', trace = ''trace_1'').';

CREATE OR REPLACE VIEW traces ${on_cluster} AS
SELECT project_id, source, if(a.known = '', t.id, a.known) AS trace_id,
       max(t.parent_id) AS parent_id, max(t.name) AS name, max(t.model) AS model, max(t.prompt) AS prompt,
       max(t.version) AS version, max(t.user_id) AS user_id, max(t.thread_id) AS thread_id,
       groupUniqArrayArray(t.tags) AS tags, maxMap(t.metadata) AS metadata, max(t.learnt_at) AS learnt_at
FROM (SELECT *, trace_id AS id FROM trace_attributes) AS t
GLOBAL LEFT ANY JOIN (
    SELECT project_id, source, alias, argMax(trace_id, learnt_at) AS known
    FROM trace_aliases GROUP BY project_id, source, alias
) AS a ON a.project_id = t.project_id AND a.source = t.source AND a.alias = t.id
GROUP BY project_id, source, trace_id
COMMENT 'The record of each trace under the id that feedback_current gives it.';
