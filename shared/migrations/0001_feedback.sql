-- The events, the standing version of each by trace, and the current feedback of a trace.

CREATE TABLE IF NOT EXISTS feedback_events ${on_cluster} (
    project_id  LowCardinality(String) COMMENT 'The tenant that the event belongs to.',
    source      LowCardinality(String) COMMENT 'The format it came in: langwatch or lunary.',
    trace_id    String COMMENT 'What was judged: the trace (LangWatch) or run (Lunary; UUIDs in lower case).',
    dedupe_id   UInt128 COMMENT 'BLAKE2b-128 of the identity: rows with the same value are deliveries of one event.',
    key_time    DateTime64(6, 'UTC') COMMENT 'A function of the identity, for the sorting key; filter on timestamp instead.',
    event_type  LowCardinality(String) COMMENT 'thumbs_up_down, selected_text, waited_to_finish or a custom type (LangWatch); feedback (Lunary).',
    timestamp   DateTime64(6, 'UTC') COMMENT 'When it happened by the client; received_at where the client told no time.',
    time_status Enum8('client' = 0, 'none' = 1, 'past' = 2, 'ahead' = 3, 'out_of_range' = 4) COMMENT 'Of timestamp: client = as told and plausible; none = not told; past = before 2015; ahead = over 5 minutes after received_at; out_of_range = saturated, raw has the original.',
    received_at DateTime64(6, 'UTC') COMMENT 'When the door took the request; minted once, kept through retry, spool, claim and replay.',
    version     UInt128 COMMENT 'Of several rows of one identity the greatest stands: received_at in microseconds << 64 | first 44 bits of request_id << 20 | event_index.',
    vote        Nullable(Float64) COMMENT 'From -1 to 1; 0 = taken back; NULL = says nothing about the vote.',
    comment     Nullable(String) COMMENT 'Empty = taken back; NULL = says nothing about the comment.',
    metrics     Map(LowCardinality(String), Float64) COMMENT 'Numbers that came with the event, zeros included.',
    details     Map(LowCardinality(String), Nullable(String)) COMMENT 'Texts that came with the event; other values as their JSON.',
    user_id     Nullable(String) COMMENT 'The end user, where the client told one.',
    thread_id   Nullable(String) COMMENT 'The conversation, where the client told one.',
    event_id    Nullable(String) COMMENT 'The id that the client gave the event, where it gave one.',
    request_id  UUID COMMENT 'The HTTP request that brought it.',
    event_index UInt32 COMMENT 'Its place in that request.',
    entry_id    String COMMENT 'Where it lay in the stream; for tracing only.',
    raw         String COMMENT 'The client''s own JSON of this event, private keys blanked; emptied after 30 days.' CODEC(ZSTD(3)) TTL toDateTime(received_at) + INTERVAL 30 DAY,
    INDEX by_time  timestamp TYPE minmax GRANULARITY 1,
    INDEX by_trace trace_id  TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = ${replicated}ReplacingMergeTree(version)
-- Few partitions whatever clients send: rows of 150 months in one insert are an error that one client could cause for ever.
PARTITION BY if(toYear(key_time) BETWEEN 2020 AND 2039, toYear(key_time), 0)
ORDER BY (project_id, key_time, dedupe_id)
TTL toDateTime(received_at) + INTERVAL 400 DAY
COMMENT 'Every event of feedback; deliveries of one event collapse by the sorting key. Read with FINAL, or from the views.';

CREATE TABLE IF NOT EXISTS feedback_by_trace ${on_cluster} (
    project_id     LowCardinality(String) COMMENT 'As in feedback_events.',
    source         LowCardinality(String) COMMENT 'As in feedback_events.',
    trace_id       String COMMENT 'As in feedback_events.',
    dedupe_id      UInt128 COMMENT 'As in feedback_events.',
    first_received SimpleAggregateFunction(min, DateTime64(6, 'UTC')) COMMENT 'When this identity was first heard of: what a client clock that runs ahead is held to.',
    last_received  SimpleAggregateFunction(max, DateTime64(6, 'UTC')) COMMENT 'When it was last heard of.',
    standing       SimpleAggregateFunction(max, Tuple(version UInt128, client_time Nullable(DateTime64(6, 'UTC')), vote Nullable(Float64), comment Nullable(String))) COMMENT 'The version that stands, with what it says.'
) ENGINE = ${replicated}AggregatingMergeTree
ORDER BY (project_id, source, trace_id, dedupe_id)
TTL toDateTime(last_received) + INTERVAL 400 DAY
COMMENT 'Each identity''s standing version, by trace; filled by a view. One argMax state a trace would be wrong under corrections.';

CREATE MATERIALIZED VIEW IF NOT EXISTS feedback_by_trace_mv ${on_cluster} TO feedback_by_trace AS
SELECT project_id, source, trace_id, dedupe_id,
       received_at AS first_received, received_at AS last_received,
       CAST((version, if(time_status = 'none', NULL, timestamp), vote, comment), 'Tuple(version UInt128, client_time Nullable(DateTime64(6, \'UTC\')), vote Nullable(Float64), comment Nullable(String))') AS standing
FROM feedback_events;

CREATE VIEW IF NOT EXISTS feedback_current ${on_cluster} AS
SELECT project_id, source, trace_id,
       argMax(e.vote, e.ord)    AS vote,
       argMax(e.comment, e.ord) AS comment,
       argMaxIf(e.ord.1, e.ord, e.vote IS NOT NULL) AS vote_time,
       count() AS events, max(e.last) AS last_received
FROM (
    SELECT project_id, source, trace_id, dedupe_id,
           min(first_received) AS first, max(last_received) AS last, max(standing) AS s,
           s.vote AS vote, s.comment AS comment,
           (if(isNull(s.client_time), first, least(assumeNotNull(s.client_time), first)), first, dedupe_id) AS ord
    FROM feedback_by_trace GROUP BY project_id, source, trace_id, dedupe_id
) AS e
GROUP BY project_id, source, trace_id
COMMENT 'What holds now for each trace, after undo and later changes: vote (0 = taken back, NULL = never voted), comment, when the deciding vote was given, how many distinct events.';
