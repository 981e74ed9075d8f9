-- Create the row of a new user, once. The outcome is `created`, `present` (nothing changed) or `handle_taken` (no row
-- yet). DO NOTHING raises no error, because the server would log an error with the handle. The role may read only the
-- sub: DO UPDATE would need the right to change rows.
WITH created AS (
    INSERT INTO users (handle, display_name, email, cognito_user_id)
    VALUES (%(handle)s, %(display_name)s, %(email)s, %(cognito_user_id)s)
    ON CONFLICT DO NOTHING
    RETURNING users.cognito_user_id
)
SELECT CASE
    WHEN EXISTS (SELECT FROM created) THEN 'created'
    WHEN EXISTS (SELECT FROM users WHERE users.cognito_user_id = %(cognito_user_id)s) THEN 'present'
    ELSE 'handle_taken'
END
