-- The shown entries of the CTE `scanned`, in its order: the live activities of a personal home, each at the newest of its
-- entries. Of reposts the entry has the handle of the user who reposted the activity.
--
-- Without ORDER BY the CTE `shown` keeps the order of `scanned`, and a full page ends the probes for newer entries.
WITH authors AS MATERIALIZED (
{activities/following_authors}
),
shown AS (
    SELECT scanned.created_at, scanned.uuid, scanned.is_repost, scanned.author_uuid
    FROM scanned
    WHERE
        scanned.is_newest
        AND COALESCE((
            SELECT
                {users/is_visible(original.user_uuid)}
                -- An activity is younger than a repost of it only after a COPY.
                AND (
                    original.created_at <= scanned.created_at
                    OR original.reply_to_activity_uuid IS NOT NULL
                    OR original.user_uuid NOT IN (SELECT authors.uuid FROM authors)
                )
                -- Whether no author has a newer repost. The statement looks each newer repost up in a hash of the authors
                -- or, where there are more than ten for each author, probes for the repost of each author. The array and
                -- the order leave the planner only the index of an activity's newest reposts.
                AND CASE
                    WHEN (
                        SELECT true
                        FROM reposts
                        WHERE
                            reposts.activity_uuid = ANY (ARRAY[original.uuid])
                            AND reposts.created_at > scanned.created_at
                        ORDER BY reposts.activity_uuid, reposts.created_at DESC, reposts.user_uuid DESC
                        OFFSET (SELECT 10 * count(*) FROM authors)
                        LIMIT 1
                    ) THEN (
                        SELECT true
                        FROM authors
                        WHERE (
                            -- An equality, as in activities/reader_column.sql.
                            SELECT reposts.created_at > scanned.created_at
                            FROM reposts
                            WHERE
                                (reposts.activity_uuid, reposts.user_uuid) >= (original.uuid, authors.uuid)
                                AND (reposts.activity_uuid, reposts.user_uuid) <= (original.uuid, authors.uuid)
                            ORDER BY reposts.activity_uuid, reposts.user_uuid
                            LIMIT 1
                        )
                        LIMIT 1
                    )
                    ELSE (
                        SELECT true
                        FROM reposts
                        WHERE
                            reposts.activity_uuid = ANY (ARRAY[original.uuid])
                            AND reposts.created_at > scanned.created_at
                            -- Without IS TRUE the planner would join, and hash the authors for each original.
                            AND (reposts.user_uuid IN (SELECT authors.uuid FROM authors)) IS TRUE
                        ORDER BY reposts.activity_uuid, reposts.created_at DESC, reposts.user_uuid DESC
                        LIMIT 1
                    )
                END IS NULL
            FROM live_activities AS original
            WHERE original.uuid = scanned.uuid
        ), false)
    LIMIT %(limit)s + 1
)
SELECT
    shown.created_at,
    shown.uuid,
    (
        SELECT row_to_json(item)
        FROM (
            SELECT
                {columns},
                CASE WHEN shown.is_repost THEN (
                    SELECT reposter.handle FROM users AS reposter WHERE reposter.uuid = shown.author_uuid
                ) END AS reposted_by
        ) AS item
    ) AS item
FROM shown
JOIN live_activities ON live_activities.uuid = shown.uuid
JOIN users ON users.uuid = live_activities.user_uuid
ORDER BY shown.created_at {direction}, shown.uuid {direction}
