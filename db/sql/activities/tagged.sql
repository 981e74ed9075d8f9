-- Live activities with a hashtag, replies too.
--
-- The sub-select hides the hashtag from the planner. For a hashtag of few activities the planner would find a plan that
-- seems cheaper than the generic one, and plan each execution anew. That takes longer than the read.
SELECT
    {columns}
FROM taggings
JOIN live_activities ON live_activities.uuid = taggings.activity_uuid
JOIN users ON users.uuid = live_activities.user_uuid
WHERE
    taggings.tag = (SELECT %(tag)s::text)
    AND COALESCE(taggings.expires_at, 'infinity') > now()
    AND (taggings.created_at, taggings.activity_uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY taggings.created_at {direction}, taggings.activity_uuid {direction}
LIMIT %(limit)s + 1
