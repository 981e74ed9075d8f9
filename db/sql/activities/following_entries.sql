-- The next entries of a personal home, in order: activities without replies of the reader and of those whom the reader
-- follows, and all reposts by any of these. An original has several entries, of which `is_newest` marks the newest among
-- these rows.
--
-- Each author has two walks, of activities and of reposts. Of each walk the statement probes for the one entry nearest to
-- the keyset. All rows are in the walks whose nearest entries come first, as many walks as rows, and none of the rows is
-- later than the last of these nearest entries. The cost depends on the number of authors, and not on how many entries any
-- of them has, or how old these are.
WITH authors AS MATERIALIZED (
{activities/following_authors}
),
-- In all walks the array of one author and the order by author leave the planner only the index that begins with the
-- author. For an equality it may also expect to find an author among the newest activities of all users soon, and read
-- all of them for an author without any.
nearest AS MATERIALIZED (
    SELECT authors.uuid AS author_uuid, entry.is_repost, entry.created_at
    FROM authors
    CROSS JOIN LATERAL (
        (
            SELECT false AS is_repost, live_activities.created_at, live_activities.uuid
            FROM live_activities
            WHERE
                live_activities.user_uuid = ANY (ARRAY[authors.uuid])
                AND live_activities.reply_to_activity_uuid IS NULL
                AND (live_activities.created_at, live_activities.uuid) {comparison} (%(created_at)s, %(uuid)s)
            ORDER BY
                live_activities.user_uuid {opposite},
                live_activities.created_at {direction},
                live_activities.uuid {direction}
            LIMIT 1
        )
        UNION ALL
        (
            SELECT true, reposts.created_at, reposts.activity_uuid
            FROM reposts
            WHERE
                reposts.user_uuid = ANY (ARRAY[authors.uuid])
                AND (reposts.created_at, reposts.activity_uuid) {comparison} (%(created_at)s, %(uuid)s)
            ORDER BY
                reposts.user_uuid {opposite},
                reposts.created_at {direction},
                reposts.activity_uuid {direction}
            LIMIT 1
        )
    ) AS entry
    ORDER BY entry.created_at {direction}, entry.uuid {direction}, entry.is_repost, authors.uuid
    LIMIT %(scan_limit)s
),
-- The time of the last row at the latest.
furthest AS MATERIALIZED (
    SELECT COALESCE(
        (SELECT nearest.created_at FROM nearest OFFSET %(scan_limit)s - 1),
        CASE '{direction}' WHEN 'DESC' THEN '-infinity'::timestamptz ELSE 'infinity' END
    ) AS created_at
)
SELECT
    entries.created_at,
    entries.uuid,
    entries.is_repost,
    entries.author_uuid,
    row_number() OVER (
        PARTITION BY entries.uuid ORDER BY entries.created_at DESC, entries.is_repost, entries.author_uuid
    ) = 1 AS is_newest
FROM (
    SELECT nearest.author_uuid, nearest.is_repost, entry.created_at, entry.uuid
    FROM furthest
    CROSS JOIN nearest
    CROSS JOIN LATERAL (
        (
            SELECT live_activities.created_at, live_activities.uuid
            FROM live_activities
            WHERE
                NOT nearest.is_repost
                AND live_activities.user_uuid = ANY (ARRAY[nearest.author_uuid])
                AND live_activities.reply_to_activity_uuid IS NULL
                AND (live_activities.created_at, live_activities.uuid) {comparison} (%(created_at)s, %(uuid)s)
                AND live_activities.created_at {opposite_comparison}= furthest.created_at
            ORDER BY
                live_activities.user_uuid {opposite},
                live_activities.created_at {direction},
                live_activities.uuid {direction}
            LIMIT %(scan_limit)s
        )
        UNION ALL
        (
            SELECT reposts.created_at, reposts.activity_uuid
            FROM reposts
            WHERE
                nearest.is_repost
                AND reposts.user_uuid = ANY (ARRAY[nearest.author_uuid])
                AND (reposts.created_at, reposts.activity_uuid) {comparison} (%(created_at)s, %(uuid)s)
                AND reposts.created_at {opposite_comparison}= furthest.created_at
            ORDER BY
                reposts.user_uuid {opposite},
                reposts.created_at {direction},
                reposts.activity_uuid {direction}
            LIMIT %(scan_limit)s
        )
    ) AS entry
    -- Of several entries at one position the first counts, in both directions.
    ORDER BY entry.created_at {direction}, entry.uuid {direction}, nearest.is_repost, nearest.author_uuid
    LIMIT %(scan_limit)s
) AS entries
ORDER BY entries.created_at {direction}, entries.uuid {direction}, entries.is_repost, entries.author_uuid
