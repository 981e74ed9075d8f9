-- One batch of keys that have been free again for an hour, the oldest first. An hour:
-- no request that has found its key taken is still about to ask by whom.
WITH free AS (
    SELECT idempotency_keys.user_uuid, idempotency_keys.key FROM idempotency_keys
    WHERE idempotency_keys.created_at <= now() - interval '25 hours'
    ORDER BY idempotency_keys.created_at
    LIMIT %(batch)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_keys USING free
WHERE idempotency_keys.user_uuid = free.user_uuid AND idempotency_keys.key = free.key
