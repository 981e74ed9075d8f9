-- The current user. The function raises an exception if the user was deleted, also where no row is left.
SELECT users.uuid, users.handle, users.display_name
FROM users
WHERE users.cognito_user_id = %(cognito_user_id)s AND admit(%(cognito_user_id)s)
