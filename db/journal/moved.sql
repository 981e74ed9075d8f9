-- The times that the schema or a response cannot have, beside those that take their place. An infinite end becomes null,
-- which says the same.
SELECT moved.uuid, moved.name, moved.old::text, (moved.new AT TIME ZONE 'UTC')::text
FROM (
    SELECT users.uuid, 'users.created_at' AS name, users.created_at AS old, old_users.created_at AS new
    FROM public.users
    JOIN journal.old_users ON old_users.uuid = users.uuid
    UNION ALL
    SELECT activities.uuid, 'activities.created_at', activities.created_at, old_activities.created_at
    FROM public.activities
    JOIN journal.old_activities ON old_activities.uuid = activities.uuid
    UNION ALL
    SELECT activities.uuid, 'activities.expires_at', activities.expires_at, old_activities.expires_at
    FROM public.activities
    JOIN journal.old_activities ON old_activities.uuid = activities.uuid
) AS moved
WHERE moved.old <> moved.new AT TIME ZONE 'UTC'
ORDER BY moved.name, moved.uuid
