-- A user's uuid and names, for the head of a conversation.
SELECT
    users.uuid,
    users.handle,
    users.display_name
FROM users
WHERE lower(users.handle COLLATE "C") = lower(%(handle)s COLLATE "C") AND users.cognito_user_id IS NOT NULL
