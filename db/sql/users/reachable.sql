-- A user, if neither this user nor `user_uuid` blocks the other.
SELECT users.uuid
FROM users
WHERE
    users.uuid = %(other_user_uuid)s
    AND users.cognito_user_id IS NOT NULL
    AND {users/is_reachable(users.uuid)}
