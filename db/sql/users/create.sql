-- Create a user. The statement returns no row when the handle is in use, the user exists, or the
-- user was deleted.
INSERT INTO users (handle, display_name, email, cognito_user_id)
VALUES (%(handle)s, %(display_name)s, %(email)s, %(cognito_user_id)s)
ON CONFLICT DO NOTHING
RETURNING users.uuid, users.handle, users.display_name
