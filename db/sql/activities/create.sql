-- Create an activity, with the users that it mentions, and its hashtags. A mention of the author does not count.
INSERT INTO activities (uuid, user_uuid, message, search_text, mentions, tags, expires_at)
VALUES (
    %(uuid)s,
    %(user_uuid)s,
    %(message)s,
    %(search_text)s,
    ARRAY(
        SELECT mentioned.uuid FROM users AS mentioned
        WHERE
            lower(mentioned.handle COLLATE "C") = ANY (%(mentions)s)
            AND mentioned.uuid <> %(user_uuid)s
            AND mentioned.cognito_user_id IS NOT NULL
    ),
    %(tags)s,
    now() + %(ttl)s
)
RETURNING
    {written_columns}
