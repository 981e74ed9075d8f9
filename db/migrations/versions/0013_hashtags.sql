-- The service of the previous revision continues to run: it writes no hashtags, and reads none.
--
-- This statement comes first, because its lock is the strongest of the revision. With a weaker lock before it, the
-- revision could deadlock with a write.
ALTER TABLE activities ADD COLUMN IF NOT EXISTS tags text[] NOT NULL DEFAULT '{}';

-- Hashtags of activities. The trigger stores them in the order of the feed, in which reads of a hashtag find them: the
-- array activities.tags has none. A hashtag ends with its activity.
CREATE TABLE IF NOT EXISTS taggings (
    activity_uuid uuid NOT NULL
        CONSTRAINT taggings_activity_uuid_fkey REFERENCES activities (uuid) ON DELETE CASCADE,
    -- Folded (backend-flask/lib/text.py), without `#`.
    tag text COLLATE "C" NOT NULL,
    -- The author. Deleting a user deletes the user's activities, and these rows with them: no foreign key is needed.
    user_uuid uuid NOT NULL,
    -- The two times of the activity when it was written. It may end earlier: reads also join live_activities.
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    CONSTRAINT taggings_pkey PRIMARY KEY (activity_uuid, tag),
    CONSTRAINT taggings_tag_check CHECK (char_length(tag) BETWEEN 1 AND 50)
);

-- The activities with a hashtag, newest first.
CREATE INDEX IF NOT EXISTS taggings_tag_idx ON taggings
    (tag, created_at DESC, activity_uuid DESC, COALESCE(expires_at, 'infinity'));

-- The newest hashtags of all activities, for trends.
CREATE INDEX IF NOT EXISTS taggings_newest_idx ON taggings (created_at DESC, COALESCE(expires_at, 'infinity'));

-- Plan each hashtag as one of very many activities: by the index in feed order, of which a page reads its rows alone. For
-- an average hashtag the planner would read all rows and sort them.
ALTER TABLE taggings ALTER COLUMN tag SET (n_distinct = 20);

CREATE OR REPLACE FUNCTION add_taggings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.taggings (activity_uuid, tag, user_uuid, expires_at, created_at)
    SELECT NEW.uuid, added.tag, NEW.user_uuid, NEW.expires_at, NEW.created_at
    FROM unnest(NEW.tags) AS added (tag);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER activities_tags_added
    AFTER INSERT ON activities
    FOR EACH ROW
    WHEN (NEW.tags <> '{}')
    EXECUTE FUNCTION add_taggings();

REVOKE EXECUTE ON FUNCTION add_taggings FROM PUBLIC;
GRANT SELECT (tags), INSERT (tags) ON activities TO cruddur_service;
GRANT
    SELECT (activity_uuid, tag, user_uuid, expires_at, created_at),
    INSERT (activity_uuid, tag, user_uuid, expires_at, created_at)
    ON taggings TO cruddur_service;
