-- Create an activity of the reader, with the users that it mentions, and its hashtags. A mention of the author does not
-- count. A reader without a row in `users` creates none.
WITH author AS MATERIALIZED (
    SELECT users.uuid, users.handle, users.display_name
    FROM users
    WHERE users.cognito_user_id = %(reader)s
)
INSERT INTO activities (uuid, user_uuid, message, search_text, mentions, tags, expires_at)
SELECT
    %(uuid)s,
    author.uuid,
    %(message)s,
    %(search_text)s,
    ARRAY(
        SELECT mentioned.uuid FROM users AS mentioned
        WHERE
            lower(mentioned.handle COLLATE "C") = ANY (%(mentions)s)
            AND mentioned.uuid <> author.uuid
            AND mentioned.cognito_user_id IS NOT NULL
    ),
    %(tags)s::text[],
    now() + %(ttl)s
FROM author
RETURNING
    {written_columns}
