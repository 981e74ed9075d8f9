-- Delete one batch of expired rows. The statement returns no row while another transaction purges.
SELECT purged.activities, purged.ended, purged.idempotency_keys, purged.messages, purged.oldest
FROM purge(%(batch)s) AS purged
