-- The users whom a user mutes now, in the order of the mutes.
SELECT
    mutes.created_at,
    mutes.muted_uuid AS uuid,
    (
        SELECT row_to_json(item)
        FROM (
            SELECT
                users.uuid,
                users.handle,
                users.display_name
        ) AS item
    ) AS item
FROM mutes
JOIN users ON users.uuid = mutes.muted_uuid AND users.cognito_user_id IS NOT NULL
WHERE
    mutes.muter_uuid = %(user_uuid)s
    AND COALESCE(mutes.expires_at, 'infinity') > now()
    AND (mutes.created_at, mutes.muted_uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY mutes.created_at {direction}, mutes.muted_uuid {direction}
LIMIT %(limit)s + 1
