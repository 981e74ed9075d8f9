-- Mark deletions that the ledger has.
UPDATE deletions SET in_ledger = true
FROM unnest(%(hashes)s::text[]) AS recorded (sub_sha256)
WHERE deletions.sub_hash = decode(recorded.sub_sha256, 'hex') AND NOT deletions.in_ledger
RETURNING recorded.sub_sha256
