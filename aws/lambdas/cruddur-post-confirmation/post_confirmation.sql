-- The row of a new person, once. What has happened: `created`; `present`, and nothing was touched;
-- `handle_taken`, and there is no row yet. A conflict is no error, which the server would log with
-- the handle in it. To read, only the sub is: `DO UPDATE` would want the right to change what is there.
WITH made AS (
    INSERT INTO users (handle, display_name, email, cognito_user_id)
    VALUES (%(handle)s, %(display_name)s, %(email)s, %(cognito_user_id)s)
    ON CONFLICT DO NOTHING
    RETURNING users.cognito_user_id
)
SELECT CASE
    WHEN EXISTS (SELECT FROM made) THEN 'created'
    WHEN EXISTS (SELECT FROM users WHERE users.cognito_user_id = %(cognito_user_id)s) THEN 'present'
    ELSE 'handle_taken'
END
