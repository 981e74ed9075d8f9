-- Compare the rows before and after: of each side the number, and the sum of the hashes of the rows. A value that cannot
-- stay as it is counts on neither side: the migration has listed it. Blank characters of a divided message do not count.
WITH
    users_before AS (
        SELECT
            users.uuid,
            users.uuid::text || old_users.created_at::text AS fixed,
            users.handle,
            users.display_name,
            users.cognito_user_id,
            old_users.email,
            old_users.bio
        FROM journal.users
        JOIN journal.old_users ON old_users.uuid = users.uuid
    ),
    users_after AS (
        SELECT
            users.uuid,
            users.uuid::text || users.created_at::text AS fixed,
            users.handle,
            users.display_name,
            users.cognito_user_id,
            users.email,
            users.bio
        FROM public.users
    ),
    hashed_users AS (
        SELECT
            sides.side,
            hashtextextended(
                jsonb_build_array(
                    sides.fixed,
                    sides.email,
                    CASE WHEN 'handle' = ANY (new_users.changes) IS NOT TRUE THEN sides.handle END,
                    CASE WHEN 'display_name' = ANY (new_users.changes) IS NOT TRUE THEN sides.display_name END,
                    CASE WHEN 'cognito_user_id' = ANY (new_users.changes) IS NOT TRUE THEN sides.cognito_user_id END,
                    CASE WHEN 'bio' = ANY (new_users.changes) IS NOT TRUE THEN sides.bio END
                )::text,
                0
            ) AS hash
        FROM (
            SELECT 'before' AS side, users_before.* FROM users_before
            UNION ALL
            SELECT 'after', users_after.* FROM users_after
        ) AS sides
        LEFT JOIN journal.new_users ON new_users.uuid = sides.uuid
        WHERE 'uuid' = ANY (new_users.changes) IS NOT TRUE
    ),
    divided AS (
        SELECT
            texts.activity_uuid AS uuid,
            bool_or(texts.is_changed) AS is_changed,
            string_agg(activities.message, '' ORDER BY texts.part) AS message
        FROM journal.texts
        JOIN public.activities ON activities.uuid = texts.uuid
        GROUP BY texts.activity_uuid
    ),
    hashed_activities AS (
        SELECT
            sides.side,
            hashtextextended(
                jsonb_build_array(
                    sides.uuid,
                    sides.user_uuid,
                    sides.created_at,
                    CASE
                        WHEN divided.is_changed
                            THEN regexp_replace(sides.message, '[\u0001-\u0020\u007f-\u00a0\ufffd]', '', 'g')
                        ELSE sides.message
                    END,
                    CASE WHEN replies.uuid IS NULL THEN sides.expires_at END
                )::text,
                0
            ) AS hash
        FROM (
            SELECT
                'before' AS side,
                old_activities.uuid,
                old_activities.user_uuid,
                old_activities.message,
                old_activities.created_at,
                old_activities.expires_at
            FROM journal.old_activities
            UNION ALL
            SELECT
                'after',
                activities.uuid,
                activities.user_uuid,
                divided.message,
                activities.created_at,
                activities.expires_at
            FROM public.activities
            JOIN divided ON divided.uuid = activities.uuid
        ) AS sides
        LEFT JOIN divided ON divided.uuid = sides.uuid
        LEFT JOIN journal.replies ON replies.uuid = sides.uuid
    )
SELECT
    (
        SELECT (
            count(*) FILTER (WHERE hashed_users.side = 'before'),
            sum(hashed_users.hash) FILTER (WHERE hashed_users.side = 'before')
        ) IS NOT DISTINCT FROM (
            count(*) FILTER (WHERE hashed_users.side = 'after'),
            sum(hashed_users.hash) FILTER (WHERE hashed_users.side = 'after')
        )
        FROM hashed_users
    ) AS users_agree,
    (
        SELECT (
            count(*) FILTER (WHERE hashed_activities.side = 'before'),
            sum(hashed_activities.hash) FILTER (WHERE hashed_activities.side = 'before')
        ) IS NOT DISTINCT FROM (
            count(*) FILTER (WHERE hashed_activities.side = 'after'),
            sum(hashed_activities.hash) FILTER (WHERE hashed_activities.side = 'after')
        )
        FROM hashed_activities
    ) AS activities_agree,
    (SELECT count(*) FROM public.users) = (SELECT count(*) FROM journal.new_users) AS users_complete,
    (SELECT count(*) FROM public.activities) = (SELECT count(*) FROM journal.texts) AS activities_complete
