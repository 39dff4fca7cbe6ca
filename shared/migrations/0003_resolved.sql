-- What the page and the API read: every distinct event once, in the order of time, marked with what it decides.
-- `plaudit analytics` (or `plaudit refresh`) keeps it up from the log of changes; see docs/analytics.md.

-- What was inserted, in the order of insertion: received_at is minted at the door and may be hours older than the row.
CREATE TABLE IF NOT EXISTS feedback_changes ${on_cluster} (
    inserted_at DateTime64(6, 'UTC') COMMENT 'When the insert began, by the clock of ClickHouse; all rows of one insert have the same.',
    project_id  LowCardinality(String) COMMENT 'As in feedback_events.',
    source      LowCardinality(String) COMMENT 'As in feedback_events.',
    trace_id    String COMMENT 'As in feedback_events.'
) ENGINE = ${replicated}MergeTree
PARTITION BY toYYYYMMDD(inserted_at)
ORDER BY inserted_at
TTL toDateTime(inserted_at) + INTERVAL 7 DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Log of the traces that inserts touched, for whoever follows the table; kept for 7 days.';

CREATE MATERIALIZED VIEW IF NOT EXISTS feedback_changes_mv ${on_cluster} TO feedback_changes AS
SELECT DISTINCT now64(6, 'UTC') AS inserted_at, project_id, source, trace_id
FROM feedback_events;

ALTER TABLE feedback_by_trace ${on_cluster}
    ADD COLUMN IF NOT EXISTS key_time SimpleAggregateFunction(max, DateTime64(6, 'UTC')) COMMENT 'As in feedback_events: with dedupe_id it finds the event there.',
    ADD COLUMN IF NOT EXISTS first_inserted SimpleAggregateFunction(min, DateTime64(6, 'UTC')) COMMENT 'When this identity first came into the table.';

ALTER TABLE feedback_by_trace_mv ${on_cluster} MODIFY QUERY
SELECT project_id, source, trace_id, dedupe_id,
       received_at AS first_received, received_at AS last_received,
       CAST((version, if(time_status = 'none', NULL, timestamp), vote, comment), 'Tuple(version UInt128, client_time Nullable(DateTime64(6, \'UTC\')), vote Nullable(Float64), comment Nullable(String))') AS standing,
       key_time, now64(6, 'UTC') AS first_inserted
FROM feedback_events;

-- Rows from before this migration. Running it again, or beside inserts, changes nothing: all columns are min or max.
INSERT INTO feedback_by_trace (project_id, source, trace_id, dedupe_id, first_received, last_received, standing, key_time, first_inserted)
SELECT project_id, source, trace_id, dedupe_id, received_at, received_at,
       CAST((version, if(time_status = 'none', NULL, timestamp), vote, comment), 'Tuple(version UInt128, client_time Nullable(DateTime64(6, \'UTC\')), vote Nullable(Float64), comment Nullable(String))'),
       key_time, toDateTime64(0, 6, 'UTC')
FROM feedback_events;

CREATE TABLE IF NOT EXISTS feedback_resolved ${on_cluster} (
    project_id  LowCardinality(String) COMMENT 'The tenant.',
    time        DateTime64(6, 'UTC') COMMENT 'When it happened: the client''s time, but no later than we first heard of it.',
    dedupe_id   UInt128 COMMENT 'Names the event.',
    generation  UInt64 COMMENT 'Of several rows of one event the greatest stands.',
    gone        Bool COMMENT 'The event lies at another time now.',
    moved       Bool COMMENT 'Its time may change, so its former places are looked for.',
    source      LowCardinality(String) COMMENT 'langwatch or lunary.',
    trace_id    String COMMENT 'The trace or run that was judged.',
    event_type  LowCardinality(String) COMMENT 'thumbs_up_down, selected_text, waited_to_finish or a custom type (LangWatch); feedback (Lunary).',
    timestamp   DateTime64(6, 'UTC') COMMENT 'The time that the client told, fitted into the column; received_at where it told none.',
    time_status Enum8('client' = 0, 'none' = 1, 'past' = 2, 'ahead' = 3, 'out_of_range' = 4) COMMENT 'What is known of timestamp.',
    received_at DateTime64(6, 'UTC') COMMENT 'When the door took the delivery that stands.',
    first_received DateTime64(6, 'UTC') COMMENT 'When the door first heard of the event; earlier than received_at if it was sent again.',
    seen_at     DateTime64(6, 'UTC') COMMENT 'When the event first came into the tables.',
    vote        Nullable(Float64) COMMENT 'From -1 to 1; 0 = taken back; NULL = says nothing about the vote.',
    comment     Nullable(String) COMMENT 'Empty = taken back; NULL = says nothing about the comment.',
    metrics     Map(LowCardinality(String), Float64) COMMENT 'Numbers that came with the event.',
    details     Map(LowCardinality(String), Nullable(String)) COMMENT 'Texts that came with the event.',
    user_id     Nullable(String) COMMENT 'The end user, where told.',
    thread_id   Nullable(String) COMMENT 'The conversation, where told.',
    event_id    Nullable(String) COMMENT 'The client''s own id of the event, where told.',
    verdict     Enum8('none' = 0, 'up' = 1, 'down' = 2, 'undone' = 3) COMMENT 'Of the event that decides its trace''s vote: what that vote is. All others: none. So counting verdicts counts traces.',
    commented   Bool COMMENT 'This event gives its trace''s comment, and it is not empty.',
    holds       Bool COMMENT 'Something of what it says of vote or comment holds now.',
    is_current  Bool COMMENT 'The last of the events that decide something on their trace: at most one a trace.',
    current_vote    Nullable(Float64) COMMENT 'Where is_current: the trace''s vote now.',
    current_comment Nullable(String) COMMENT 'Where is_current: the trace''s comment now.',
    INDEX by_trace   trace_id   TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_user    user_id    TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_event   dedupe_id  TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_seen    seen_at    TYPE minmax GRANULARITY 1,
    INDEX by_receipt received_at TYPE minmax GRANULARITY 1,
    INDEX by_generation generation TYPE minmax GRANULARITY 1
) ENGINE = ${replicated}ReplacingMergeTree(generation)
-- A function of the sorting key, so that FINAL need not look across partitions; and few, whatever clients send.
PARTITION BY if(toYear(time) BETWEEN 2020 AND 2039, toYear(time), 0)
ORDER BY (project_id, time, dedupe_id)
TTL toDateTime(received_at) + INTERVAL 400 DAY
COMMENT 'Every distinct event once, marked with what it decides. Read the view feedback, or with FINAL and NOT gone.';

CREATE TABLE IF NOT EXISTS feedback_refreshes ${on_cluster} (
    name       LowCardinality(String) COMMENT 'What was refreshed: feedback_resolved.',
    as_of      DateTime64(6, 'UTC') COMMENT 'Everything that was inserted before is in it, by the clock of ClickHouse.',
    generation UInt64 COMMENT 'The last one that was given.'
) ENGINE = ${replicated}ReplacingMergeTree(generation)
ORDER BY name
COMMENT 'How far the derived tables have come. Read with FINAL.';
