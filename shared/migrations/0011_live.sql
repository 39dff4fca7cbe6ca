-- What tells live feedback from what was imported or replayed, so that the delay that people are told is the pipeline's.

ALTER TABLE feedback_events ${on_cluster}
    ADD COLUMN IF NOT EXISTS replayed Bool DEFAULT false COMMENT 'Brought in long after its receipt on purpose: imported, or sent again from the dead letters.';

ALTER TABLE feedback_changes ${on_cluster}
    ADD COLUMN IF NOT EXISTS received_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Of the live feedback on the trace in this insert, when the door took the first; NULL where there was none: imports, replays, what is no feedback.';

ALTER TABLE feedback_changes_mv ${on_cluster} MODIFY QUERY
SELECT now64(6, 'UTC') AS inserted_at, project_id, source, trace_id,
       minOrNullIf(feedback_events.received_at, NOT replayed) AS received_at
FROM feedback_events
GROUP BY project_id, source, trace_id;
