-- The users in the order in which they get their handles: those with the `sub` of a person first, then the oldest. The
-- last are the authors of activities that no row of the table has.
SELECT people.uuid, people.handle, people.display_name, people.bio, people.cognito_user_id, people.is_missing
FROM (
    SELECT
        people.*,
        people.cognito_user_id ~ %(sub)s IS TRUE AS has_sub,
        false AS is_missing
    FROM journal.people
    UNION ALL
    SELECT missing.user_uuid, NULL, NULL, NULL, NULL, NULL, NULL, false, true
    FROM (
        SELECT DISTINCT posts.user_uuid
        FROM journal.posts
        WHERE NOT EXISTS (SELECT FROM journal.people WHERE people.uuid = posts.user_uuid)
    ) AS missing
) AS people
ORDER BY people.is_missing, people.has_sub DESC, people.created_at, people.uuid
