-- The service of the previous revision continues to run: the triggers store what it does not write itself.
--
-- Mentions of users by activities. The trigger stores them in the order of the feed, in which notifications read them:
-- the array activities.mentions has none. A mention ends with its activity.
CREATE TABLE IF NOT EXISTS mentionings (
    activity_uuid uuid NOT NULL
        CONSTRAINT mentionings_activity_uuid_fkey REFERENCES activities (uuid) ON DELETE CASCADE,
    -- The mentioned user.
    user_uuid uuid NOT NULL
        CONSTRAINT mentionings_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    -- The two times of the activity when it was written. It may end earlier: reads also join live_activities.
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    CONSTRAINT mentionings_pkey PRIMARY KEY (activity_uuid, user_uuid)
);

-- The mentions of a user, newest first.
CREATE INDEX IF NOT EXISTS mentionings_user_idx ON mentionings
    (user_uuid, created_at DESC, activity_uuid DESC, COALESCE(expires_at, 'infinity'));

CREATE OR REPLACE FUNCTION add_mentionings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.mentionings (activity_uuid, user_uuid, expires_at, created_at)
    SELECT NEW.uuid, users.uuid, NEW.expires_at, NEW.created_at
    FROM public.users
    WHERE users.uuid = ANY (NEW.mentions);
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER activities_mentions_added
    AFTER INSERT ON activities
    FOR EACH ROW
    WHEN (NEW.mentions <> '{}')
    EXECUTE FUNCTION add_mentionings();

-- Store the author of the activity with a reaction, so that notifications need an index only.
CREATE OR REPLACE FUNCTION add_author() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.author_uuid := (SELECT activities.user_uuid FROM public.activities WHERE activities.uuid = NEW.activity_uuid);
    RETURN NEW;
END
$$;

-- Until when a user has read the feed `notifications`, or a conversation: then `feed` is its uuid. A marker only moves
-- forward. Unread counts are computed from it and never stored.
CREATE TABLE IF NOT EXISTS read_markers (
    user_uuid uuid NOT NULL
        CONSTRAINT read_markers_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    feed text NOT NULL,
    read_at timestamptz NOT NULL,
    CONSTRAINT read_markers_pkey PRIMARY KEY (user_uuid, feed),
    CONSTRAINT read_markers_feed_check CHECK (feed ~ '^(notifications|[0-9a-f-]{36})$')
);

-- Plan each list as one of very many rows: by the index that has its order, of which a page reads its own rows alone.
-- From the average number the planner would conclude to read a whole list and to sort it. Another index has all
-- activities in this order: for it to look worse, a list may be no more than a twentieth of them.
ALTER TABLE activities
    ALTER COLUMN reply_to_activity_uuid SET (n_distinct = 20),
    ALTER COLUMN reply_to_user_uuid SET (n_distinct = 20);
ALTER TABLE mentionings ALTER COLUMN user_uuid SET (n_distinct = 2);

REVOKE EXECUTE ON FUNCTION add_mentionings, add_author FROM PUBLIC;
GRANT
    SELECT (activity_uuid, user_uuid, expires_at, created_at),
    INSERT (activity_uuid, user_uuid, expires_at, created_at)
    ON mentionings TO cruddur_service;
GRANT
    SELECT (user_uuid, feed, read_at),
    INSERT (user_uuid, feed, read_at),
    UPDATE (read_at)
    ON read_markers TO cruddur_service;
