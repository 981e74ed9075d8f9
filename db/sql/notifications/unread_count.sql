-- Count a user's notifications after a keyset, to a limit.
SELECT
    LEAST(count(*), %(limit)s) AS count,
    count(*) > %(limit)s AS is_more
FROM (
{notifications/newest}
) AS notifications
