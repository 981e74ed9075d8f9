-- Users and activities: the first version of db/schema.sql.

-- Search finds parts of words, and only a trigram index serves that.
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE users (
    uuid uuid DEFAULT gen_random_uuid() CONSTRAINT users_pkey PRIMARY KEY,
    display_name text NOT NULL,
    handle text NOT NULL,
    -- The claim `sub` of the access token: the user's id in the user pool.
    cognito_user_id text NOT NULL CONSTRAINT users_cognito_user_id_key UNIQUE,
    -- The address for e-mails to the user. No request reads this column.
    email text,
    bio text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_display_name_check
        CHECK (char_length(display_name) <= 50 AND btrim(display_name, E' \t\r\n') <> ''),
    -- The URL `/@handle` and the mention `@handle` both depend on this form.
    CONSTRAINT users_handle_check CHECK (handle ~ '^[A-Za-z0-9_]{1,30}$'),
    CONSTRAINT users_bio_check CHECK (char_length(bio) <= 160)
);

-- Handles are looked up, and unique, without regard to case. A handle is ASCII, and
-- the collation "C" makes `I` and `i` one letter also on a server with a Turkish locale.
CREATE UNIQUE INDEX users_handle_key ON users (lower(handle COLLATE "C"));

CREATE TABLE activities (
    uuid uuid DEFAULT gen_random_uuid() CONSTRAINT activities_pkey PRIMARY KEY,
    user_uuid uuid NOT NULL
        CONSTRAINT activities_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    message text NOT NULL,
    -- The two triggers below count replies, so that reading a feed counts nothing.
    replies_count integer NOT NULL DEFAULT 0,
    reposts_count integer NOT NULL DEFAULT 0,
    likes_count integer NOT NULL DEFAULT 0,
    -- The parent of a reply. Deleting the parent deletes the reply.
    reply_to_activity_uuid uuid
        CONSTRAINT activities_reply_to_activity_uuid_fkey REFERENCES activities (uuid) ON DELETE CASCADE,
    -- The author of the parent, and the mentioned users. The write stores both, so that notifications
    -- need an index only, and no join of the table with itself.
    reply_to_user_uuid uuid
        CONSTRAINT activities_reply_to_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    mentions uuid[] NOT NULL DEFAULT '{}',
    -- Null: the activity never expires.
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT activities_message_check CHECK (
        char_length(message) <= CASE WHEN reply_to_activity_uuid IS NULL THEN 280 ELSE 1024 END
        AND btrim(message, E' \t\r\n') <> ''
    ),
    CONSTRAINT activities_counts_check
        CHECK (replies_count >= 0 AND reposts_count >= 0 AND likes_count >= 0),
    CONSTRAINT activities_expires_at_check CHECK (expires_at > created_at),
    -- A reply without a user, or a user without a reply, would break notifications.
    CONSTRAINT activities_reply_to_check
        CHECK ((reply_to_activity_uuid IS NULL) = (reply_to_user_uuid IS NULL))
);

-- Every feed is newest first. The uuid breaks ties, so that two activities of
-- one instant keep their order from one page to the next. The expression of
-- live_activities is each index's last column: Postgres skips expired rows inside
-- the index, without reading the table.
CREATE INDEX activities_home_idx ON activities
    (created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'))
    WHERE reply_to_activity_uuid IS NULL;

CREATE INDEX activities_user_idx ON activities
    (user_uuid, created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'))
    WHERE reply_to_activity_uuid IS NULL;

CREATE INDEX activities_replies_idx ON activities
    (reply_to_activity_uuid, created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'))
    WHERE reply_to_activity_uuid IS NOT NULL;

-- Replies to a user, for notifications.
CREATE INDEX activities_reply_to_user_idx ON activities
    (reply_to_user_uuid, created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'))
    WHERE reply_to_user_uuid IS NOT NULL;

-- Mentions of a user, for notifications. Most activities have no mention.
CREATE INDEX activities_mentions_idx ON activities
    USING gin (mentions)
    WHERE mentions <> '{}';

-- Search reads replies too. It finds a rare term by its trigrams, and a term that
-- many rows hold by scanning the newest rows until the page is full.
CREATE INDEX activities_message_idx ON activities
    USING gin (message gin_trgm_ops);

CREATE INDEX activities_newest_idx ON activities
    (created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'));

-- The rows that bin/db-purge deletes.
CREATE INDEX activities_expires_at_idx ON activities (expires_at)
    WHERE expires_at IS NOT NULL;

-- The one definition of "live". Every read uses this view, with the reader's own
-- rights.
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

-- The counter changes in the statement that creates or deletes the reply. This trigger
-- sees cascades and purges too, so the count stays exact.
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

-- The service's role may read and write rows, and has no other rights. bin/db-create
-- creates the role.
GRANT USAGE ON SCHEMA public TO cruddur_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON users, activities TO cruddur_service;
GRANT SELECT ON live_activities TO cruddur_service;

GRANT SELECT ON alembic_version TO cruddur_service;
