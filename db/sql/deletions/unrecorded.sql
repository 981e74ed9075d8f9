-- Confirmed deletions that the ledger does not have, the oldest first.
SELECT
    encode(deletions.sub_hash, 'hex') AS sub_sha256,
    deletions.requested_at,
    deletions.expires_at,
    deletions.outcome
FROM deletions
WHERE NOT deletions.in_ledger AND deletions.confirmed_at IS NOT NULL
ORDER BY deletions.confirmed_at, deletions.sub_hash
LIMIT %(limit)s
