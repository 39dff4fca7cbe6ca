-- What was asked to be erased. Workers drop what was received before; so rows in flight do not come back.

CREATE TABLE IF NOT EXISTS erasures ${on_cluster} (
    project_id   String COMMENT 'The tenant.',
    kind         Enum8('user' = 1, 'trace' = 2) COMMENT 'What the name names.',
    name_hash    String COMMENT 'BLAKE2b-128 of project, kind and name, in hex: the name itself is kept nowhere.',
    requested_at DateTime64(6, 'UTC') COMMENT 'Feedback received before this is gone for good; later feedback is kept.'
) ENGINE = ${replicated}ReplacingMergeTree(requested_at)
ORDER BY (project_id, kind, name_hash)
COMMENT 'Tombstones: whose feedback was erased, and until when. Read with FINAL.';
