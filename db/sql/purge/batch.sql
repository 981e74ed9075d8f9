-- Delete one batch of what is over. There is no row while another transaction does so.
SELECT purged.activities, purged.ended, purged.idempotency_keys, purged.oldest
FROM purge(%(batch)s) AS purged
