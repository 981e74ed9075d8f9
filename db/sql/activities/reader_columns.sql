-- The further columns of an activity for an authenticated reader. `reader` is the claim `sub` of the token, so that the
-- statement finds the reader without another query. A reader without a row in `users` likes nothing.
--
-- The probe takes the first like from (activity, reader) on, in the primary key's order, because only the primary key
-- serves that. For EXISTS, or for an equality, the planner may also choose to read all likes of the reader.
    COALESCE((
        SELECT
            likes.activity_uuid = live_activities.uuid
            AND likes.user_uuid = (SELECT reader.uuid FROM users AS reader WHERE reader.cognito_user_id = %(reader)s)
        FROM likes
        WHERE
            (likes.activity_uuid, likes.user_uuid) >= (
                live_activities.uuid,
                (SELECT reader.uuid FROM users AS reader WHERE reader.cognito_user_id = %(reader)s)
            )
        ORDER BY likes.activity_uuid, likes.user_uuid
        LIMIT 1
    ), false) AS liked
