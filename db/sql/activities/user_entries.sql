-- The entries of a user's profile with reposts, in order: own activities without replies, and all reposts by the user.
-- Expired ones are not `is_shown`. An own activity that the user reposted is two entries, of which only the newer is.
--
-- Both walks read an index alone, in its order, and stop where the page is full. They filter no row by a condition: the
-- caller bounds the number of rows. With a condition on a column outside of the index the planner would sort all
-- activities of a user whom it expects to have few.
SELECT
    entries.created_at,
    entries.uuid,
    entries.is_repost,
    entries.is_shown
FROM (
    (
        SELECT
            activities.created_at,
            activities.uuid,
            false AS is_repost,
            -- For EXISTS the planner may also choose to read all live activities once.
            (SELECT live_activities.uuid FROM live_activities WHERE live_activities.uuid = activities.uuid) IS NOT NULL
            -- An equality, as in activities/reader_column.sql.
            AND COALESCE((
                SELECT reposts.created_at <= activities.created_at
                FROM reposts
                WHERE
                    (reposts.activity_uuid, reposts.user_uuid) >= (activities.uuid, activities.user_uuid)
                    AND (reposts.activity_uuid, reposts.user_uuid) <= (activities.uuid, activities.user_uuid)
                ORDER BY reposts.activity_uuid, reposts.user_uuid
                LIMIT 1
            ), true) AS is_shown
        FROM activities
        WHERE
            activities.user_uuid = (
                SELECT author.uuid FROM users AS author
                WHERE lower(author.handle COLLATE "C") = lower(%(handle)s COLLATE "C")
            )
            AND activities.reply_to_activity_uuid IS NULL
            AND (activities.created_at, activities.uuid) {comparison} (%(created_at)s, %(uuid)s)
        ORDER BY activities.created_at {direction}, activities.uuid {direction}
        LIMIT %(scan_limit)s
    )
    UNION ALL
    (
        SELECT
            reposts.created_at,
            reposts.activity_uuid,
            true,
            COALESCE((
                SELECT
                    (
                        original.user_uuid <> reposts.user_uuid
                        OR original.reply_to_activity_uuid IS NOT NULL
                        OR original.created_at < reposts.created_at
                    )
                    AND {users/is_unblocked(original.user_uuid)}
                FROM live_activities AS original
                WHERE original.uuid = reposts.activity_uuid
            ), false)
        FROM reposts
        WHERE
            reposts.user_uuid = (
                SELECT author.uuid FROM users AS author
                WHERE lower(author.handle COLLATE "C") = lower(%(handle)s COLLATE "C")
            )
            AND (reposts.created_at, reposts.activity_uuid) {comparison} (%(created_at)s, %(uuid)s)
        ORDER BY reposts.created_at {direction}, reposts.activity_uuid {direction}
        LIMIT %(scan_limit)s
    )
) AS entries
ORDER BY entries.created_at {direction}, entries.uuid {direction}
LIMIT %(scan_limit)s
