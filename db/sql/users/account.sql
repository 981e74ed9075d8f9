-- The current user's account. `email` comes from Cognito, because this role cannot read the column.
SELECT
    users.uuid,
    users.handle,
    users.display_name,
    users.bio,
    %(email)s::text AS email,
    users.created_at
FROM users
WHERE users.uuid = %(user_uuid)s
