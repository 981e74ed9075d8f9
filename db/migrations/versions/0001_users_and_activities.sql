-- Users and activities, as db/schema.sql had them on the first day.

-- Search finds parts of words, which only a trigram index serves.
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE users (
    uuid uuid DEFAULT gen_random_uuid() CONSTRAINT users_pkey PRIMARY KEY,
    display_name text NOT NULL,
    handle text NOT NULL,
    -- The claim `sub` of the access token: who this is, as Cognito says it.
    cognito_user_id text NOT NULL CONSTRAINT users_cognito_user_id_key UNIQUE,
    -- For writing to the person; no query that answers a request reads it.
    email text,
    bio text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_display_name_check
        CHECK (char_length(display_name) <= 50 AND btrim(display_name, E' \t\r\n') <> ''),
    -- Both the URL `/@handle` and the mention `@handle` rest on this form.
    CONSTRAINT users_handle_check CHECK (handle ~ '^[A-Za-z0-9_]{1,30}$'),
    CONSTRAINT users_bio_check CHECK (char_length(bio) <= 160)
);

-- A handle is found, and unique, without regard to case. A handle is ASCII, and
-- "C" keeps `I` and `i` one letter also where the server speaks Turkish.
CREATE UNIQUE INDEX users_handle_key ON users (lower(handle COLLATE "C"));

CREATE TABLE activities (
    uuid uuid DEFAULT gen_random_uuid() CONSTRAINT activities_pkey PRIMARY KEY,
    user_uuid uuid NOT NULL
        CONSTRAINT activities_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    message text NOT NULL,
    -- Counted by the two triggers below, so that reading a feed counts nothing.
    replies_count integer NOT NULL DEFAULT 0,
    reposts_count integer NOT NULL DEFAULT 0,
    likes_count integer NOT NULL DEFAULT 0,
    -- A reply goes when its parent goes.
    reply_to_activity_uuid uuid
        CONSTRAINT activities_reply_to_activity_uuid_fkey REFERENCES activities (uuid) ON DELETE CASCADE,
    -- Whom it answers and whom it mentions, found when it is written: the readers
    -- of notifications are found by an index then, and by no join of the table with itself.
    reply_to_user_uuid uuid
        CONSTRAINT activities_reply_to_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    mentions uuid[] NOT NULL DEFAULT '{}',
    -- Null: stays until it is deleted.
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT activities_message_check CHECK (
        char_length(message) <= CASE WHEN reply_to_activity_uuid IS NULL THEN 280 ELSE 1024 END
        AND btrim(message, E' \t\r\n') <> ''
    ),
    CONSTRAINT activities_counts_check
        CHECK (replies_count >= 0 AND reposts_count >= 0 AND likes_count >= 0),
    CONSTRAINT activities_expires_at_check CHECK (expires_at > created_at),
    -- A reply that names no person, or a person without a reply, notifies wrongly.
    CONSTRAINT activities_reply_to_check
        CHECK ((reply_to_activity_uuid IS NULL) = (reply_to_user_uuid IS NULL))
);

-- Every feed is newest first and ends its order with the uuid, so that two
-- activities of one instant keep their places from one page to the next. The
-- expression of live_activities is each index's last column: rows past their
-- time are passed over inside the index, without a visit to the table.
CREATE INDEX activities_home_idx ON activities
    (created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'))
    WHERE reply_to_activity_uuid IS NULL;

CREATE INDEX activities_user_idx ON activities
    (user_uuid, created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'))
    WHERE reply_to_activity_uuid IS NULL;

CREATE INDEX activities_replies_idx ON activities
    (reply_to_activity_uuid, created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'))
    WHERE reply_to_activity_uuid IS NOT NULL;

-- Replies to a person, for notifications.
CREATE INDEX activities_reply_to_user_idx ON activities
    (reply_to_user_uuid, created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'))
    WHERE reply_to_user_uuid IS NOT NULL;

-- Mentions of a person, for notifications. Most activities mention nobody.
CREATE INDEX activities_mentions_idx ON activities
    USING gin (mentions)
    WHERE mentions <> '{}';

-- Search reads replies too. A rare term is found by its trigrams, and one that
-- many rows hold by walking the newest rows until the page is full.
CREATE INDEX activities_message_idx ON activities
    USING gin (message gin_trgm_ops);

CREATE INDEX activities_newest_idx ON activities
    (created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'));

-- What bin/db-purge removes.
CREATE INDEX activities_expires_at_idx ON activities (expires_at)
    WHERE expires_at IS NOT NULL;

-- What "live" means is said here and nowhere else. Every read goes through this
-- view, with the reader's own rights.
CREATE VIEW live_activities WITH (security_invoker = true) AS
SELECT
    uuid,
    user_uuid,
    message,
    replies_count,
    reposts_count,
    likes_count,
    reply_to_activity_uuid,
    reply_to_user_uuid,
    mentions,
    expires_at,
    created_at
FROM activities
WHERE COALESCE(expires_at, 'infinity') > now();

-- The counter changes in the statement that makes or removes the reply. A
-- cascade and a purge come through here too, so the count stays exact.
CREATE FUNCTION count_reply() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        UPDATE public.activities SET replies_count = replies_count + 1
        WHERE uuid = NEW.reply_to_activity_uuid;
    ELSE
        UPDATE public.activities SET replies_count = replies_count - 1
        WHERE uuid = OLD.reply_to_activity_uuid;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER activities_reply_made
    AFTER INSERT ON activities
    FOR EACH ROW WHEN (NEW.reply_to_activity_uuid IS NOT NULL)
    EXECUTE FUNCTION count_reply();

CREATE TRIGGER activities_reply_removed
    AFTER DELETE ON activities
    FOR EACH ROW WHEN (OLD.reply_to_activity_uuid IS NOT NULL)
    EXECUTE FUNCTION count_reply();

-- The service reads and writes rows, and can do nothing else. bin/db-create
-- makes the role.
GRANT USAGE ON SCHEMA public TO cruddur_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON users, activities TO cruddur_service;
GRANT SELECT ON live_activities TO cruddur_service;

GRANT SELECT ON alembic_version TO cruddur_service;
