-- What is known of a trace besides its feedback, and which ids are one trace. Learnt from what passes the door.

CREATE TABLE IF NOT EXISTS trace_attributes ${on_cluster} (
    project_id LowCardinality(String) COMMENT 'As in feedback_events.',
    source     LowCardinality(String) COMMENT 'As in feedback_events.',
    trace_id   String COMMENT 'As in feedback_events, before aliases are resolved.',
    -- max of texts: one value whatever the order and the repetitions, and any text beats none.
    parent_id  SimpleAggregateFunction(max, String) COMMENT 'The run or thread that it is part of.',
    name       SimpleAggregateFunction(max, String) COMMENT 'Of the run, or of the root span.',
    model      SimpleAggregateFunction(max, String) COMMENT 'The model that answered; of a Lunary run also that of the call inside it.',
    prompt     SimpleAggregateFunction(max, String) COMMENT 'Name of the prompt.',
    version    SimpleAggregateFunction(max, String) COMMENT 'Of the prompt (Lunary: the template''s id), or of the application where no prompt tells one.',
    user_id    SimpleAggregateFunction(max, String) COMMENT 'The end user by the run, not by the feedback.',
    thread_id  SimpleAggregateFunction(max, String) COMMENT 'The conversation.',
    tags       SimpleAggregateFunction(groupUniqArrayArray, Array(String)) COMMENT 'Tags or labels.',
    metadata   SimpleAggregateFunction(maxMap, Map(String, String)) COMMENT 'Of the metadata, the keys that PLAUDIT_TRACE_METADATA lists.',
    learnt_at  SimpleAggregateFunction(max, DateTime64(6, 'UTC')) COMMENT 'When it was last told.'
) ENGINE = ${replicated}AggregatingMergeTree
ORDER BY (project_id, source, trace_id)
TTL toDateTime(learnt_at) + INTERVAL 400 DAY
COMMENT 'A slim record of each trace that passed: no text of prompts or answers. Read with FINAL, or the view traces.';

CREATE TABLE IF NOT EXISTS trace_aliases ${on_cluster} (
    project_id LowCardinality(String) COMMENT 'As in feedback_events.',
    source     LowCardinality(String) COMMENT 'As in feedback_events.',
    alias      String COMMENT 'The id that some client uses: Python''s Lunary SDK hashes the message''s id with its key.',
    trace_id   String COMMENT 'The id that everyone else uses: the message''s own.',
    learnt_at  DateTime64(6, 'UTC') COMMENT 'When it was last told.',
    INDEX by_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = ${replicated}ReplacingMergeTree(learnt_at)
ORDER BY (project_id, source, alias)
TTL toDateTime(learnt_at) + INTERVAL 400 DAY
COMMENT 'Which ids are one trace. An alias has one trace and is never a trace of its own. Read with FINAL.';

CREATE TABLE IF NOT EXISTS trace_aliases_by_trace ${on_cluster} (
    project_id LowCardinality(String) COMMENT 'As in trace_aliases.',
    source     LowCardinality(String) COMMENT 'As in trace_aliases.',
    trace_id   String COMMENT 'As in trace_aliases.',
    alias      String COMMENT 'As in trace_aliases.',
    learnt_at  DateTime64(6, 'UTC') COMMENT 'As in trace_aliases.'
) ENGINE = ${replicated}ReplacingMergeTree(learnt_at)
ORDER BY (project_id, source, trace_id, alias)
TTL toDateTime(learnt_at) + INTERVAL 400 DAY
COMMENT 'The same the other way round, so that all ids of a trace are found without a scan; filled by a view.';

CREATE MATERIALIZED VIEW IF NOT EXISTS trace_aliases_by_trace_mv ${on_cluster} TO trace_aliases_by_trace AS
SELECT project_id, source, trace_id, alias, learnt_at
FROM trace_aliases;

-- An alias that is learnt after its feedback was stored changes what holds for the trace: whoever follows is told.
CREATE MATERIALIZED VIEW IF NOT EXISTS trace_aliases_changes_mv ${on_cluster} TO feedback_changes AS
SELECT now64(6, 'UTC') AS inserted_at, project_id, source, alias AS trace_id
FROM trace_aliases;

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
    LEFT ANY JOIN (
        SELECT project_id, source, alias, argMax(trace_id, learnt_at) AS trace_id
        FROM trace_aliases
        -- Most messages are never judged: only the aliases that occur are held while joining.
        WHERE (project_id, source, alias) IN (SELECT project_id, source, trace_id FROM feedback_by_trace)
        GROUP BY project_id, source, alias
    ) AS a ON a.project_id = f.project_id AND a.source = f.source AND a.alias = f.trace_id
) AS e
GROUP BY project_id, source, trace_id
COMMENT 'What holds now for each trace, after undo and later changes, whichever of its ids the feedback named: vote (0 = taken back, NULL = never voted), comment, when the deciding vote was given, how many distinct events.';

CREATE VIEW IF NOT EXISTS traces ${on_cluster} AS
SELECT project_id, source, if(a.known = '', t.id, a.known) AS trace_id,
       max(t.parent_id) AS parent_id, max(t.name) AS name, max(t.model) AS model, max(t.prompt) AS prompt,
       max(t.version) AS version, max(t.user_id) AS user_id, max(t.thread_id) AS thread_id,
       groupUniqArrayArray(t.tags) AS tags, maxMap(t.metadata) AS metadata, max(t.learnt_at) AS learnt_at
FROM (SELECT *, trace_id AS id FROM trace_attributes) AS t
LEFT ANY JOIN (
    SELECT project_id, source, alias, argMax(trace_id, learnt_at) AS known
    FROM trace_aliases GROUP BY project_id, source, alias
) AS a ON a.project_id = t.project_id AND a.source = t.source AND a.alias = t.id
GROUP BY project_id, source, trace_id
COMMENT 'The record of each trace under the id that feedback_current gives it.';
