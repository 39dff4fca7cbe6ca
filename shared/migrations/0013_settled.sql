-- FINAL costs nothing where no other part holds rows of the same time, and four times the rest of a query where one does.
-- Left to itself ClickHouse merges parts of like size only, so that a small one lies beside a large one for days. So what
-- is an hour old is merged into what is older, up to ClickHouse's own limit for a part (150 GB).
ALTER TABLE feedback_resolved ${on_cluster} MODIFY SETTING min_age_to_force_merge_seconds = 3600;
