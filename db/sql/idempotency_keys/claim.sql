-- Claim the reader's key for a request. The statement waits for a request that is claiming the key at this moment, and
-- returns no row when another request has the key, or when the reader has no row in `users`. After 24 hours a key is
-- free again.
INSERT INTO idempotency_keys (user_uuid, key, fingerprint, made)
SELECT reader.uuid, %(key)s, %(fingerprint)s, %(resource_uuid)s
FROM users AS reader
WHERE reader.cognito_user_id = %(reader)s AND admit(%(reader)s)
ON CONFLICT (user_uuid, key) DO UPDATE
SET fingerprint = EXCLUDED.fingerprint, made = EXCLUDED.made, created_at = EXCLUDED.created_at
WHERE idempotency_keys.created_at <= now() - interval '24 hours'
RETURNING idempotency_keys.made
