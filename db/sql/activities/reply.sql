-- Create the reader's reply to a live activity. It expires together with its parent. A mention of the author does not
-- count. A reader without a row in `users` creates none.
WITH author AS MATERIALIZED (
    SELECT users.uuid, users.handle, users.display_name
    FROM users
    WHERE users.cognito_user_id = %(reader)s
)
INSERT INTO activities (
    uuid, user_uuid, message, search_text, mentions, tags, reply_to_activity_uuid, reply_to_user_uuid, expires_at
)
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
    parent.uuid,
    parent.user_uuid,
    parent.expires_at
FROM live_activities AS parent
CROSS JOIN author
WHERE
    parent.uuid = %(activity_uuid)s
    AND {users/is_unblocked(parent.user_uuid)}
RETURNING
    {written_columns}
