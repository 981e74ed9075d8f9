-- The users in the order in which they get their handles: those with the `sub` of a person first, then the oldest. The
-- last are the authors of activities that no row of the table has.
SELECT old_users.uuid, old_users.handle, old_users.display_name, old_users.bio, old_users.cognito_user_id, old_users.is_missing
FROM (
    SELECT
        old_users.*,
        old_users.cognito_user_id ~ %(sub)s IS TRUE AS has_sub,
        false AS is_missing
    FROM journal.old_users
    UNION ALL
    SELECT missing.user_uuid, NULL, NULL, NULL, NULL, NULL, NULL, false, true
    FROM (
        SELECT DISTINCT old_activities.user_uuid
        FROM journal.old_activities
        WHERE NOT EXISTS (SELECT FROM journal.old_users WHERE old_users.uuid = old_activities.user_uuid)
    ) AS missing
) AS old_users
ORDER BY old_users.is_missing, old_users.has_sub DESC, old_users.created_at, old_users.uuid
