-- For people who ask in SQL: plain names, one row an event, nothing counted twice.

CREATE VIEW IF NOT EXISTS feedback ${on_cluster} (
    project_id  LowCardinality(String) COMMENT 'The tenant. Filter on it first: the rows lie in the order of project and time.',
    time        DateTime64(6, 'UTC') COMMENT 'When it happened: the client''s time, but no later than we first heard of it.',
    source      LowCardinality(String) COMMENT 'langwatch or lunary.',
    trace_id    String COMMENT 'The trace or run that was judged.',
    event_type  LowCardinality(String) COMMENT 'thumbs_up_down, selected_text, waited_to_finish or a custom type (LangWatch); feedback (Lunary).',
    vote        Nullable(Float64) COMMENT 'What this event says: from -1 to 1; 0 = taken back; NULL = says nothing about the vote.',
    comment     Nullable(String) COMMENT 'What this event says. Empty = taken back; NULL = says nothing about the comment.',
    verdict     Enum8('none' = 0, 'up' = 1, 'down' = 2, 'undone' = 3) COMMENT 'Of the event that decides its trace''s vote: what that vote is now. All others: none. So counting verdicts counts traces.',
    commented   Bool COMMENT 'This event gives its trace''s comment, and it is not empty. So counting these counts comments that hold.',
    is_current  Bool COMMENT 'The last of the events that decide something on their trace: one row for each trace with a vote or a comment.',
    current_vote    Nullable(Float64) COMMENT 'Where is_current: the trace''s vote now.',
    current_comment Nullable(String) COMMENT 'Where is_current: the trace''s comment now.',
    holds       Bool COMMENT 'Something of what this event says of vote or comment holds now.',
    user_id     Nullable(String) COMMENT 'The end user, where told.',
    thread_id   Nullable(String) COMMENT 'The conversation, where told.',
    metrics     Map(LowCardinality(String), Float64) COMMENT 'Numbers that came with the event: metrics[''stars''].',
    details     Map(LowCardinality(String), Nullable(String)) COMMENT 'Texts that came with the event: details[''model''].',
    event_id    Nullable(String) COMMENT 'The client''s own id of the event, where told.',
    timestamp   DateTime64(6, 'UTC') COMMENT 'The time as the client told it, fitted into the column.',
    time_status Enum8('client' = 0, 'none' = 1, 'past' = 2, 'ahead' = 3, 'out_of_range' = 4) COMMENT 'What is known of timestamp.',
    received_at DateTime64(6, 'UTC') COMMENT 'When the delivery that stands was received.',
    first_received DateTime64(6, 'UTC') COMMENT 'When the event was first heard of; earlier than received_at if it was sent again.',
    seen_at     DateTime64(6, 'UTC') COMMENT 'When it first came into the tables.',
    dedupe_id   UInt128 COMMENT 'Names the event.'
) AS
SELECT project_id, time, source, trace_id, event_type, vote, comment, verdict, commented, is_current, current_vote,
       current_comment, holds, user_id, thread_id, metrics, details, event_id, timestamp, time_status, received_at,
       first_received, seen_at, dedupe_id
FROM feedback_resolved FINAL
WHERE NOT gone
COMMENT 'Every distinct event of feedback once, as of the last refresh (seconds ago), marked with what it decides.';
