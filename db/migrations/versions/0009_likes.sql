-- The service of the previous revision continues to run: it neither reads nor writes the new table.
--
-- Likes of activities. A like ends with its activity: reads join live_activities, and the purge deletes by the cascade.
CREATE TABLE IF NOT EXISTS likes (
    activity_uuid uuid NOT NULL
        CONSTRAINT likes_activity_uuid_fkey REFERENCES activities (uuid) ON DELETE CASCADE,
    user_uuid uuid NOT NULL
        CONSTRAINT likes_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT likes_pkey PRIMARY KEY (activity_uuid, user_uuid)
);

-- The users who like an activity, newest like first.
CREATE INDEX IF NOT EXISTS likes_activity_idx ON likes (activity_uuid, created_at DESC, user_uuid DESC);

-- The activities that a user likes, newest like first.
CREATE INDEX IF NOT EXISTS likes_user_idx ON likes (user_uuid, created_at DESC, activity_uuid DESC);

-- Count the likes of a statement: one update for each activity, however many likes the statement adds or deletes. The
-- cascade of a deleted activity updates no row. The purge deletes activities one by one, most of them without a like:
-- hence the early return.
--
-- The function locks activities in one order, so that two statements cannot deadlock. An activity may have ended while
-- this function waited for its row, at a time later than now(): then the like is not written.
CREATE OR REPLACE FUNCTION count_likes() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    counted integer;
BEGIN
    IF NOT EXISTS (SELECT FROM changed) THEN
        RETURN NULL;
    END IF;
    PERFORM FROM public.activities
    WHERE activities.uuid IN (SELECT changed.activity_uuid FROM changed)
    ORDER BY activities.uuid
    FOR NO KEY UPDATE;
    IF TG_OP = 'INSERT' THEN
        UPDATE public.activities SET likes_count = activities.likes_count + added.likes_count
        FROM (SELECT changed.activity_uuid, count(*) AS likes_count FROM changed GROUP BY changed.activity_uuid) AS added
        WHERE
            activities.uuid = added.activity_uuid
            AND COALESCE(activities.expires_at, 'infinity') > clock_timestamp();
        GET DIAGNOSTICS counted = ROW_COUNT;
        IF counted < (SELECT count(DISTINCT changed.activity_uuid) FROM changed) THEN
            RAISE foreign_key_violation USING
                MESSAGE = 'the liked activity has ended',
                CONSTRAINT = 'likes_activity_uuid_fkey';
        END IF;
    ELSE
        UPDATE public.activities SET likes_count = activities.likes_count - removed.likes_count
        FROM (SELECT changed.activity_uuid, count(*) AS likes_count FROM changed GROUP BY changed.activity_uuid) AS removed
        WHERE activities.uuid = removed.activity_uuid;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER likes_added
    AFTER INSERT ON likes
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_likes();

CREATE OR REPLACE TRIGGER likes_removed
    AFTER DELETE ON likes
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_likes();

REVOKE EXECUTE ON FUNCTION count_likes FROM PUBLIC;
GRANT
    SELECT (activity_uuid, user_uuid, created_at),
    INSERT (activity_uuid, user_uuid),
    DELETE
    ON likes TO cruddur_service;
-- The trigger needs this right.
GRANT UPDATE (likes_count) ON activities TO cruddur_service;
