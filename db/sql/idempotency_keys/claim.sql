-- Take a person's key for a request. There is no row when it is taken, and a request that
-- has it at this moment is waited for. After 24 hours a key is free again.
INSERT INTO idempotency_keys (user_uuid, key, fingerprint, made)
VALUES (%(user_uuid)s, %(key)s, %(fingerprint)s, %(resource_uuid)s)
ON CONFLICT (user_uuid, key) DO UPDATE
SET fingerprint = EXCLUDED.fingerprint, made = EXCLUDED.made, created_at = EXCLUDED.created_at
WHERE idempotency_keys.created_at <= now() - interval '24 hours'
RETURNING idempotency_keys.made
