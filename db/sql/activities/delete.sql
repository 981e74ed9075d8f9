-- Delete a live activity of one's own, and with it its replies.
--
-- What it replies to is locked first: its counter changes at the end. Whoever deletes
-- that at the same moment comes to the two in this order, and would else wait for us
-- while we wait for them.
WITH parent AS (
    SELECT parent.uuid
    FROM activities AS parent
    JOIN activities AS reply ON reply.reply_to_activity_uuid = parent.uuid
    WHERE reply.uuid = %(activity_uuid)s AND reply.user_uuid = %(user_uuid)s
    FOR NO KEY UPDATE OF parent
)
DELETE FROM activities
WHERE
    (SELECT count(*) FROM parent) >= 0
    AND activities.uuid = (SELECT live_activities.uuid FROM live_activities WHERE live_activities.uuid = %(activity_uuid)s)
    AND activities.user_uuid = %(user_uuid)s
RETURNING activities.uuid
