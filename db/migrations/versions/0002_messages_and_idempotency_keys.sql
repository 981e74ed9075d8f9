-- Direct messages, and idempotency keys. The tables are new. Existing tables are affected
-- only by the moment that adding a foreign key takes, and by one index setting.

-- Two users have one conversation. Its uuid is computed from theirs, so that two first
-- messages at one moment get the same primary key. The uuid is a hash, in version 8 of
-- RFC 9562.
CREATE FUNCTION message_group_uuid(one uuid, other uuid) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (
        SELECT encode(
            set_byte(set_byte(hash, 6, 128 | (get_byte(hash, 6) & 15)), 8, 128 | (get_byte(hash, 8) & 63)), 'hex'
        )::uuid
        FROM (
            SELECT substring(sha256(uuid_send(LEAST(one, other)) || uuid_send(GREATEST(one, other))) FOR 16) AS hash
        ) AS hashed
    );

CREATE TABLE message_groups (
    uuid uuid CONSTRAINT message_groups_pkey PRIMARY KEY,
    lesser_user_uuid uuid NOT NULL
        CONSTRAINT message_groups_lesser_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    greater_user_uuid uuid NOT NULL
        CONSTRAINT message_groups_greater_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    -- The trigger below updates this column, so that an index has the list's order.
    last_message_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT message_groups_members_check CHECK (lesser_user_uuid < greater_user_uuid),
    CONSTRAINT message_groups_uuid_check CHECK (uuid = message_group_uuid(lesser_user_uuid, greater_user_uuid))
);

-- A user is the lesser member of some conversations and the greater member of others.
CREATE INDEX message_groups_lesser_user_idx ON message_groups
    (lesser_user_uuid, last_message_at DESC, uuid DESC);

CREATE INDEX message_groups_greater_user_idx ON message_groups
    (greater_user_uuid, last_message_at DESC, uuid DESC);

CREATE TABLE messages (
    uuid uuid NOT NULL DEFAULT gen_random_uuid(),
    message_group_uuid uuid NOT NULL
        CONSTRAINT messages_message_group_uuid_fkey REFERENCES message_groups (uuid) ON DELETE CASCADE,
    -- The sender. No index has this column: only the rare removal of a user needs it.
    user_uuid uuid NOT NULL
        CONSTRAINT messages_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    message text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- The order of a conversation's pages.
    CONSTRAINT messages_pkey PRIMARY KEY (message_group_uuid, created_at, uuid),
    CONSTRAINT messages_message_check CHECK (char_length(message) <= 1024 AND btrim(message, E' \t\r\n') <> '')
);

CREATE FUNCTION note_last_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.message_groups SET last_message_at = GREATEST(last_message_at, NEW.created_at)
    WHERE uuid = NEW.message_group_uuid;
    RETURN NULL;
END
$$;

CREATE TRIGGER messages_made
    AFTER INSERT ON messages
    FOR EACH ROW EXECUTE FUNCTION note_last_message();

-- Requests with an Idempotency-Key that succeeded. A repeated request finds here the
-- resource of the first one, and gets the resource's present state. The table has no
-- response bodies, so that no repeated request can read an expired activity.
CREATE TABLE idempotency_keys (
    user_uuid uuid NOT NULL
        CONSTRAINT idempotency_keys_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    key text NOT NULL,
    -- SHA-256 of the path and the body.
    fingerprint bytea NOT NULL,
    -- The uuid of the created resource, if the request created one.
    made uuid NOT NULL,
    -- The time of the resource too: one transaction writes both.
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (user_uuid, key),
    CONSTRAINT idempotency_keys_key_check CHECK (key ~ '^[ -~]{1,255}$')
);

-- The order in which bin/db-purge deletes.
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);

GRANT SELECT, INSERT, UPDATE ON message_groups, idempotency_keys TO cruddur_service;
GRANT SELECT, INSERT ON messages TO cruddur_service;

-- This comes last, because planning a read waits for it from here to the end.
ALTER INDEX activities_mentions_idx SET (fastupdate = off);
