-- Insert the rows into the schema of today. The triggers store mentions and hashtags, as for each activity.
INSERT INTO public.users (uuid, display_name, handle, cognito_user_id, email, bio, created_at)
SELECT
    new_users.uuid,
    new_users.display_name,
    new_users.handle,
    new_users.cognito_user_id,
    old_users.email,
    new_users.bio,
    -- A user whose row is missing is as old as the oldest activity.
    COALESCE(
        old_users.created_at,
        (SELECT min(old_activities.created_at) FROM journal.old_activities WHERE old_activities.user_uuid = new_users.uuid)
    )
FROM journal.new_users
LEFT JOIN journal.old_users ON old_users.uuid = new_users.uuid;

ANALYZE public.users, journal.activities, journal.replies, journal.texts;

CREATE TABLE journal.new_activities AS
SELECT
    texts.uuid,
    old_activities.user_uuid,
    texts.message,
    COALESCE(texts.previous_uuid, replies.parent_uuid) AS reply_to_activity_uuid,
    CASE WHEN texts.previous_uuid IS NULL THEN parents.user_uuid ELSE old_activities.user_uuid END AS reply_to_user_uuid,
    ARRAY(
        SELECT mentioned.uuid
        FROM public.users AS mentioned
        WHERE lower(mentioned.handle COLLATE "C") = ANY (texts.mentions) AND mentioned.uuid <> old_activities.user_uuid
    ) AS mentions,
    CASE
        WHEN replies.uuid IS NULL THEN old_activities.expires_at
        -- A reply may have been written after the end of its parent.
        WHEN ending.expires_at IS NOT NULL THEN GREATEST(ending.expires_at, old_activities.created_at)
    END AS expires_at,
    old_activities.created_at,
    texts.search_text,
    texts.tags
FROM journal.texts
JOIN journal.old_activities ON old_activities.uuid = texts.activity_uuid
LEFT JOIN journal.replies ON replies.uuid = old_activities.uuid
LEFT JOIN journal.old_activities AS parents ON parents.uuid = replies.parent_uuid
LEFT JOIN journal.old_activities AS ending ON ending.uuid = replies.ends_with_uuid;

-- This trigger wants the parent before the reply, and refuses replies to an activity that ends during the migration. The
-- statement counts the replies itself.
ALTER TABLE public.activities DISABLE TRIGGER activities_reply_made;

INSERT INTO public.activities (
    uuid,
    user_uuid,
    message,
    replies_count,
    reply_to_activity_uuid,
    reply_to_user_uuid,
    mentions,
    expires_at,
    created_at,
    search_text,
    tags
)
SELECT
    new_activities.uuid,
    new_activities.user_uuid,
    new_activities.message,
    COALESCE(counted.replies, 0),
    new_activities.reply_to_activity_uuid,
    new_activities.reply_to_user_uuid,
    new_activities.mentions,
    new_activities.expires_at,
    new_activities.created_at,
    new_activities.search_text,
    new_activities.tags
FROM journal.new_activities
LEFT JOIN (
    SELECT replies.reply_to_activity_uuid AS uuid, count(*) AS replies
    FROM journal.new_activities AS replies
    WHERE COALESCE(replies.expires_at, 'infinity') > now()
    GROUP BY replies.reply_to_activity_uuid
) AS counted ON counted.uuid = new_activities.uuid
-- A feed reads the newest rows: they lie together.
ORDER BY new_activities.created_at, new_activities.uuid;

ALTER TABLE public.activities ENABLE TRIGGER activities_reply_made;

ANALYZE public.activities, public.mentionings, public.taggings;
