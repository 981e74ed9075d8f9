-- One batch of activities whose time is up, the longest gone first; their replies
-- go with them. A reply that goes that way is not taken by itself: two purges would
-- wait for each other, one for the reply and one for what it answers. Rows that
-- somebody else has locked, such as a second purge, are left to them.
WITH expired AS (
    SELECT activities.uuid FROM activities
    WHERE
        activities.expires_at <= now()
        AND NOT EXISTS (
            SELECT FROM activities AS parent
            WHERE parent.uuid = activities.reply_to_activity_uuid AND parent.expires_at <= now()
        )
    ORDER BY activities.expires_at
    LIMIT %(batch)s
    FOR UPDATE OF activities SKIP LOCKED
)
DELETE FROM activities USING expired WHERE activities.uuid = expired.uuid
