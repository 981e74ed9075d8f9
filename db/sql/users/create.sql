-- A new person. There is no row when somebody has the handle, or the person is there already.
INSERT INTO users (handle, display_name, email, cognito_user_id)
VALUES (%(handle)s, %(display_name)s, %(email)s, %(cognito_user_id)s)
ON CONFLICT DO NOTHING
RETURNING users.uuid, users.handle, users.display_name
