-- Count a user's notifications after the user's marker, to a limit. Without a marker all are unread.
WITH marker AS (
    SELECT COALESCE(
        (
            SELECT read_markers.read_at
            FROM read_markers
            WHERE read_markers.user_uuid = %(user_uuid)s AND read_markers.feed = 'notifications'
        ),
        '-infinity'
    ) AS read_at
)
SELECT
    LEAST(count(*), %(limit)s) AS count,
    count(*) > %(limit)s AS is_more
FROM (
{notifications/newest}
) AS notifications
