-- The durable home of projects and keys. Redis and the processes hold copies.

CREATE TABLE IF NOT EXISTS projects ${on_cluster} (
    project_id String COMMENT 'The tenant''s name, as in feedback_events.',
    created_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was made.'
) ENGINE = ${replicated}ReplacingMergeTree
ORDER BY project_id
COMMENT 'Tenants: every key belongs to one; nothing crosses from one to another.';

CREATE TABLE IF NOT EXISTS api_keys ${on_cluster} (
    token_hash String COMMENT 'SHA-256 of the token, in hex; the token itself is kept nowhere.',
    project_id String COMMENT 'A project that the key is for; a key may have several rows.',
    kind       LowCardinality(String) COMMENT 'langwatch, lunary-public, lunary-private or read.',
    revoked    Bool DEFAULT false COMMENT 'Revoked keys stop within 10 seconds everywhere.',
    changed_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When this row was written; the latest stands.'
) ENGINE = ${replicated}ReplacingMergeTree(changed_at)
ORDER BY (token_hash, project_id)
COMMENT 'API keys, hashed. Read with FINAL.';
