-- The resource of the request that has the reader's key, and whether the fingerprints match.
SELECT
    idempotency_keys.made,
    idempotency_keys.created_at,
    idempotency_keys.fingerprint = %(fingerprint)s AS is_same
FROM idempotency_keys
WHERE idempotency_keys.user_uuid = {users/current} AND idempotency_keys.key = %(key)s
