-- The journal's rows in one form for all variants of its tables, in a schema of their own. The times are UTC, and within
-- the years that a response can have. The views follow the tables when these move.
CREATE SCHEMA journal;

CREATE VIEW journal.old_users AS
SELECT
    users.uuid,
    users.handle,
    users.display_name,
    users.cognito_user_id,
    -- The first variant has neither column.
    to_jsonb(users) ->> 'email' AS email,
    to_jsonb(users) ->> 'bio' AS bio,
    LEAST(GREATEST(users.created_at, '0001-01-01'), '9999-12-31 23:59:59') AT TIME ZONE 'UTC' AS created_at
FROM public.users;

CREATE VIEW journal.old_activities AS
SELECT
    activities.uuid,
    activities.user_uuid,
    activities.message,
    -- An integer, a text or a uuid.
    activities.reply_to_activity_uuid::text AS reply_to,
    activities.likes_count,
    activities.reposts_count,
    clamped.created_at AT TIME ZONE 'UTC' AS created_at,
    CASE
        WHEN activities.expires_at <> 'infinity' THEN GREATEST(clamped.expires_at, clamped.created_at) AT TIME ZONE 'UTC'
    END AS expires_at
FROM public.activities
CROSS JOIN LATERAL (
    SELECT
        LEAST(GREATEST(activities.created_at, '0001-01-01'), '9999-12-31 23:59:59') AS created_at,
        LEAST(GREATEST(activities.expires_at, '0001-01-01'), '9999-12-31 23:59:59') AS expires_at
) AS clamped;
