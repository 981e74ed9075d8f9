-- The reporter's report of the activity, or of the user with the handle, in the category.
SELECT reports.uuid
FROM reports
WHERE
    reports.reporter_uuid = %(reporter_uuid)s
    AND COALESCE(reports.activity_uuid, reports.reported_uuid) = COALESCE(
        %(activity_uuid)s::uuid,
        (
            SELECT users.uuid FROM users
            WHERE lower(users.handle COLLATE "C") = lower(%(handle)s::text COLLATE "C") AND users.cognito_user_id IS NOT NULL
        )
    )
    AND reports.category = %(category)s
    AND reports.expires_at > now()
ORDER BY reports.created_at DESC, reports.uuid
LIMIT 1
