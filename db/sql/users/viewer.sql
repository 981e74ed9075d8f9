-- The current user.
SELECT users.uuid, users.handle, users.display_name
FROM users
WHERE users.cognito_user_id = %(cognito_user_id)s
