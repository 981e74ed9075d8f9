-- The current schema. Loading this file again changes nothing, and no statement
-- here drops anything. bin/db-migrate takes an existing database from one schema
-- to the next, and a test compares the two results.
--
-- The file has no BEGIN and no COMMIT: the client that loads it opens the transaction.
--
-- The checks require a character besides controls and spaces in every text. backend-flask/lib/text.py also rejects
-- other invisible characters, by Unicode's properties. The schema does not, because Postgres knows these properties
-- by its locale alone, and a dump may move to a server with another locale.

-- Search finds parts of words, and only a trigram index serves that.
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE IF NOT EXISTS users (
    uuid uuid DEFAULT gen_random_uuid() CONSTRAINT users_pkey PRIMARY KEY,
    display_name text NOT NULL,
    handle text NOT NULL,
    -- The claim `sub` of the access token: the user's id in the user pool. Null: a deleted user, whose row stays for the
    -- other members of conversations.
    cognito_user_id text CONSTRAINT users_cognito_user_id_key UNIQUE,
    -- The address for e-mails to the user. No request reads this column.
    email text,
    bio text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_display_name_check
        CHECK (
            char_length(display_name) <= 50
            AND display_name ~ '[^\u0001-\u0020\u007f-\u00a0]'
            AND display_name !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]'
        ),
    -- The URL `/@handle` and the mention `@handle` both depend on this form.
    CONSTRAINT users_handle_check CHECK (handle ~ '^[A-Za-z0-9_]{1,30}$'),
    CONSTRAINT users_bio_check CHECK (char_length(bio) <= 160),
    -- Deleted users have these handles, and no other user can take one.
    CONSTRAINT users_deleted_check
        CHECK ((cognito_user_id IS NULL) = starts_with(lower(handle COLLATE "C"), 'deleted_'))
);

-- Handles are looked up, and unique, without regard to case. A handle is ASCII, and
-- the collation "C" makes `I` and `i` one letter also on a server with a Turkish locale.
CREATE UNIQUE INDEX IF NOT EXISTS users_handle_key ON users (lower(handle COLLATE "C"));

-- A page looks up the author of each of its rows. A look-up in the primary key's tree takes longer
-- with more users. A look-up by hash takes the same time for a million users as for a hundred.
CREATE INDEX IF NOT EXISTS users_uuid_idx ON users USING hash (uuid);

-- Deletions of users. The row comes before the deletion, and stays for as long as a backup may hold the user.
CREATE TABLE IF NOT EXISTS deletions (
    -- SHA-256 of the claim `sub`. Subs are random UUIDs, so that the hash cannot be reversed.
    sub_hash bytea CONSTRAINT deletions_pkey PRIMARY KEY,
    -- Null after the end of the deletion.
    user_uuid uuid
        CONSTRAINT deletions_user_uuid_key UNIQUE
        CONSTRAINT deletions_user_uuid_fkey REFERENCES users (uuid) ON DELETE SET NULL,
    -- The claim `sub`, until the user pool has deleted the user: an operator needs it then.
    cognito_user_id text,
    -- The request that began the deletion, and that alone may take it back.
    request uuid,
    -- The outcome in the user pool.
    outcome text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    -- From this time on no read shows the user.
    confirmed_at timestamptz,
    -- From this time on no row of the user remains, except conversations with others.
    finished_at timestamptz,
    expires_at timestamptz NOT NULL,
    -- Whether the file of deletions beside the backups has this one.
    in_ledger boolean NOT NULL DEFAULT false,
    CONSTRAINT deletions_sub_hash_check CHECK (octet_length(sub_hash) = 32),
    CONSTRAINT deletions_outcome_check CHECK (outcome IN ('requested', 'deleted', 'unknown')),
    CONSTRAINT deletions_confirmed_at_check CHECK ((outcome = 'requested') = (confirmed_at IS NULL)),
    CONSTRAINT deletions_finished_at_check CHECK (finished_at IS NULL OR confirmed_at IS NOT NULL)
);

-- The few deletions that have not ended, which each feed reads.
CREATE INDEX IF NOT EXISTS deletions_unfinished_idx ON deletions (confirmed_at, requested_at, user_uuid)
    WHERE finished_at IS NULL;

-- The purge's order.
CREATE INDEX IF NOT EXISTS deletions_purge_idx ON deletions (expires_at) WHERE finished_at IS NOT NULL;

-- Deletions that the file beside the backups does not have.
CREATE INDEX IF NOT EXISTS deletions_ledger_idx ON deletions (confirmed_at, sub_hash) WHERE NOT in_ledger;

-- Create no user with the `sub` of a deleted one: a token may be valid for longer than the user exists. The statement
-- then inserts no row, as with ON CONFLICT DO NOTHING.
CREATE OR REPLACE FUNCTION skip_deleted_user() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (
        SELECT FROM public.deletions WHERE deletions.sub_hash = sha256(convert_to(NEW.cognito_user_id, 'UTF8'))
    ) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER users_not_deleted
    BEFORE INSERT ON users
    FOR EACH ROW EXECUTE FUNCTION skip_deleted_user();

-- True, for the statements of an authenticated request. Raises an exception if the user `sub` was deleted. The SQLSTATE
-- is ours: backend-flask/lib/database.py knows it.
CREATE OR REPLACE FUNCTION admit(sub text) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM public.deletions WHERE deletions.sub_hash = sha256(convert_to(sub, 'UTF8'))) THEN
        RAISE EXCEPTION USING ERRCODE = 'CR401', MESSAGE = 'the user of this request was deleted';
    END IF;
    RETURN true;
END
$$;

-- Begin the deletion of the user `sub`: from the commit on, `admit` refuses the user's requests. The row stays for the
-- time `retention`. `request` is a uuid of the caller's. Returns the user's uuid, null without such a user, and where
-- another request has begun the deletion.
CREATE OR REPLACE FUNCTION request_deletion(sub text, retention interval, request uuid) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    requested uuid;
BEGIN
    INSERT INTO public.deletions (sub_hash, user_uuid, cognito_user_id, request, outcome, expires_at)
    SELECT
        sha256(convert_to(users.cognito_user_id, 'UTF8')),
        users.uuid,
        users.cognito_user_id,
        request_deletion.request,
        'requested',
        now() + retention
    FROM public.users
    WHERE users.cognito_user_id = sub
    ON CONFLICT DO NOTHING
    RETURNING deletions.user_uuid INTO requested;
    RETURN requested;
END
$$;

-- Take back a deletion of `request` that is not confirmed. Returns whether there was one.
CREATE OR REPLACE FUNCTION refuse_deletion(hash bytea, request uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM public.deletions
    WHERE
        deletions.sub_hash = hash
        AND deletions.request = refuse_deletion.request
        AND deletions.confirmed_at IS NULL;
    RETURN FOUND;
END
$$;

-- Take the names of a deleted user away: no list or profile shows the user from the commit on, and no token finds the
-- user. A second call changes nothing.
CREATE OR REPLACE FUNCTION anonymise_user(deleted uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        BEGIN
            UPDATE public.users SET
                cognito_user_id = NULL,
                handle = 'deleted_' || encode(substring(uuid_send(gen_random_uuid()) FOR 4), 'hex'),
                display_name = 'Deleted user',
                email = NULL,
                bio = NULL
            WHERE users.uuid = deleted AND users.cognito_user_id IS NOT NULL;
            RETURN;
        EXCEPTION WHEN unique_violation THEN
            -- Another deleted user has this handle: try the next.
            NULL;
        END;
    END LOOP;
END
$$;

-- Confirm a requested deletion with the user pool's outcome, `deleted` or `unknown`, and take the user's names away. A
-- second call changes nothing. Where a lock keeps the user's row, the purge takes the names away.
CREATE OR REPLACE FUNCTION confirm_deletion(hash bytea, result text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    deleted uuid;
BEGIN
    UPDATE public.deletions SET
        outcome = result,
        confirmed_at = clock_timestamp(),
        cognito_user_id = CASE result WHEN 'unknown' THEN deletions.cognito_user_id END
    WHERE deletions.sub_hash = hash AND deletions.confirmed_at IS NULL
    RETURNING deletions.user_uuid INTO deleted;
    BEGIN
        PERFORM public.anonymise_user(deleted);
    EXCEPTION WHEN lock_not_available THEN
        NULL;
    END;
END
$$;

CREATE TABLE IF NOT EXISTS activities (
    uuid uuid DEFAULT gen_random_uuid() CONSTRAINT activities_pkey PRIMARY KEY,
    user_uuid uuid NOT NULL
        CONSTRAINT activities_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    message text NOT NULL,
    -- Triggers count replies, reposts and likes, so that reading a feed counts nothing.
    replies_count integer NOT NULL DEFAULT 0,
    reposts_count integer NOT NULL DEFAULT 0,
    likes_count integer NOT NULL DEFAULT 0,
    -- The parent of a reply. Deleting the parent deletes the reply.
    reply_to_activity_uuid uuid
        CONSTRAINT activities_reply_to_activity_uuid_fkey REFERENCES activities (uuid) ON DELETE CASCADE,
    -- The author of the parent. The write stores it, so that notifications need an index only, and no join of the table
    -- with itself.
    reply_to_user_uuid uuid
        CONSTRAINT activities_reply_to_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    -- The mentioned users. A trigger stores them in mentionings, in the order of the feed.
    mentions uuid[] NOT NULL DEFAULT '{}',
    -- Null: the activity never expires.
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- The message folded for search (backend-flask/lib/text.py), which needs Unicode's full case folding.
    -- Null in rows that another program than the service wrote.
    search_text text,
    -- The hashtags of the message, folded. A trigger stores them in taggings, in the order of the feed.
    tags text[] NOT NULL DEFAULT '{}',
    CONSTRAINT activities_message_check CHECK (
        char_length(message) <= CASE WHEN reply_to_activity_uuid IS NULL THEN 280 ELSE 1024 END
        AND message ~ '[^\u0001-\u0020\u007f-\u00a0]'
    ),
    CONSTRAINT activities_counts_check
        CHECK (replies_count >= 0 AND reposts_count >= 0 AND likes_count >= 0),
    CONSTRAINT activities_expires_at_check CHECK (expires_at >= created_at),
    -- A reply without a user, or a user without a reply, would break notifications.
    CONSTRAINT activities_reply_to_check
        CHECK ((reply_to_activity_uuid IS NULL) = (reply_to_user_uuid IS NULL))
);

-- Every feed is newest first. The uuid breaks ties, so that two activities of
-- one instant keep their order from one page to the next. The expression of
-- live_activities is each index's last column: Postgres skips expired rows inside
-- the index, without reading the table.
CREATE INDEX IF NOT EXISTS activities_home_idx ON activities
    (created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'))
    WHERE reply_to_activity_uuid IS NULL;

CREATE INDEX IF NOT EXISTS activities_user_idx ON activities
    (user_uuid, created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'))
    WHERE reply_to_activity_uuid IS NULL;

CREATE INDEX IF NOT EXISTS activities_replies_idx ON activities
    (reply_to_activity_uuid, created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'))
    WHERE reply_to_activity_uuid IS NOT NULL;

-- Replies to a user, for notifications.
CREATE INDEX IF NOT EXISTS activities_reply_to_user_idx ON activities
    (reply_to_user_uuid, created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'))
    WHERE reply_to_user_uuid IS NOT NULL;

-- Search reads replies too. It finds a rare term by its trigrams, and a term that
-- many rows hold by scanning the newest rows until the page is full.
CREATE INDEX IF NOT EXISTS activities_search_idx ON activities
    USING gin (COALESCE(search_text, lower(normalize(message, NFKC))) gin_trgm_ops);

CREATE INDEX IF NOT EXISTS activities_newest_idx ON activities
    (created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'));

-- The purge's order. A reply ends with its parent and is younger, so it comes first.
CREATE INDEX IF NOT EXISTS activities_purge_idx ON activities (expires_at, created_at DESC)
    WHERE expires_at IS NOT NULL;

-- All activities of a user, for the user's deletion and the foreign key.
CREATE INDEX IF NOT EXISTS activities_author_idx ON activities (user_uuid);

-- The one definition of "live": not expired, and not of a deleted user. Every read uses this view, with the reader's own
-- rights. A statement reads the deletions once, and there are few that have not ended. Of the form of the condition the
-- planner concludes that nearly all rows fulfil it. For NOT IN or ALL it would expect none where there are few users.
CREATE OR REPLACE VIEW live_activities WITH (security_invoker = true) AS
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
    created_at,
    COALESCE(search_text, lower(normalize(message, NFKC))) AS search_text
FROM activities
WHERE
    COALESCE(expires_at, 'infinity') > now()
    AND CASE
        WHEN user_uuid = ANY (
            ARRAY(
                SELECT deletions.user_uuid
                FROM deletions
                WHERE deletions.finished_at IS NULL AND deletions.confirmed_at IS NOT NULL
            )
        ) THEN NULL
        ELSE true
    END IS NOT NULL;

-- A reply counts from its creation until its end. The deletion of an ended row changes no count, and an expired reply
-- expires together with its parent. The parent may have ended while this function waited for its row, at a time later
-- than now(): then the reply is not written.
CREATE OR REPLACE FUNCTION count_reply() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        UPDATE public.activities SET replies_count = replies_count + 1
        WHERE uuid = NEW.reply_to_activity_uuid AND COALESCE(expires_at, 'infinity') > clock_timestamp();
        IF NOT FOUND THEN
            RAISE foreign_key_violation USING
                MESSAGE = 'the activity that this replies to has ended',
                CONSTRAINT = 'activities_reply_to_activity_uuid_fkey';
        END IF;
    ELSE
        UPDATE public.activities SET replies_count = replies_count - 1
        WHERE uuid = OLD.reply_to_activity_uuid;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER activities_reply_made
    AFTER INSERT ON activities
    FOR EACH ROW
    WHEN (NEW.reply_to_activity_uuid IS NOT NULL AND COALESCE(NEW.expires_at, 'infinity') > now())
    EXECUTE FUNCTION count_reply();

CREATE OR REPLACE TRIGGER activities_reply_removed
    AFTER DELETE ON activities
    FOR EACH ROW
    WHEN (OLD.reply_to_activity_uuid IS NOT NULL AND COALESCE(OLD.expires_at, 'infinity') > now())
    EXECUTE FUNCTION count_reply();

-- Threads with live replies below an ended root: the thread was too large for the statement that ended the root. The
-- purge ends the rest.
CREATE TABLE IF NOT EXISTS unfinished_threads (
    activity_uuid uuid CONSTRAINT unfinished_threads_pkey PRIMARY KEY
);

-- End the live descendants of `ancestors`, the nearest first: at most `most` rows, and none after `until`. Descendants
-- end at `ended_at`, as their ancestors did. Ancestors with more live descendants go to unfinished_threads. Returns the
-- number of ended rows.
--
-- A reply may have been written later than ended_at and now(), while this function waited for a lock. Such a reply ends
-- at its own created_at, and the conditions below must not find it again.
--
-- A transaction that writes a reply locks the parent's row until its commit. After the wait for that lock only a
-- statement with a new snapshot finds the reply: hence the loop.
--
-- The function allows only index scans. Otherwise the planner would read a small table from end to end for each level
-- of a thread, thousands of times.
CREATE OR REPLACE FUNCTION expire_descendants(
    ancestors uuid[], ended_at timestamptz, most integer, until timestamptz
) RETURNS integer
    LANGUAGE plpgsql SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    descendants uuid[];
    ended integer := 0;
BEGIN
    WHILE ended < most AND clock_timestamp() < until LOOP
        descendants := ARRAY(
            WITH RECURSIVE thread AS (
                SELECT child.uuid
                FROM unnest(ancestors) AS ancestor (uuid)
                JOIN public.activities AS child ON child.reply_to_activity_uuid = ancestor.uuid
                WHERE COALESCE(child.expires_at, 'infinity') > GREATEST(now(), ended_at, child.created_at)
                UNION ALL
                SELECT child.uuid
                FROM thread
                JOIN public.activities AS child ON child.reply_to_activity_uuid = thread.uuid
                WHERE COALESCE(child.expires_at, 'infinity') > GREATEST(now(), ended_at, child.created_at)
            )
            SELECT thread.uuid FROM thread LIMIT LEAST(most - ended, 2500)
        );
        IF descendants = '{}' THEN
            RETURN ended;
        END IF;
        -- All transactions lock rows in one order, so that two overlapping ones cannot deadlock.
        PERFORM FROM public.activities AS descendant
        WHERE descendant.uuid = ANY (descendants)
        ORDER BY descendant.created_at, descendant.uuid
        FOR NO KEY UPDATE;
        -- Clear search_text: its index would take half of the time.
        UPDATE public.activities AS descendant
        SET expires_at = GREATEST(ended_at, descendant.created_at), search_text = ''
        WHERE descendant.uuid = ANY (descendants);
        ended := ended + cardinality(descendants);
        ancestors := ancestors || descendants;
    END LOOP;
    INSERT INTO public.unfinished_threads (activity_uuid)
    SELECT ancestor.uuid
    FROM unnest(ancestors) AS ancestor (uuid)
    WHERE EXISTS (
        SELECT FROM public.activities AS child
        WHERE
            child.reply_to_activity_uuid = ancestor.uuid
            AND COALESCE(child.expires_at, 'infinity') > GREATEST(now(), ended_at, child.created_at)
    )
    ON CONFLICT DO NOTHING;
    RETURN ended;
END
$$;

-- End a live activity of `author` and all replies below it. They disappear for every reader at once, and the purge
-- deletes the rows later. Returns the activity's uuid, null where `author` has no such live activity.
--
-- The function locks the parent first, because the parent's counter changes. A transaction that ends the parent at the
-- same moment locks the two rows in this order too, so that the transactions cannot deadlock. After a wait for the lock
-- the other transaction's time may be later than now().
--
-- The role's statement_timeout is 1.8 seconds, of which that wait may have taken one.
CREATE OR REPLACE FUNCTION end_activity(activity uuid, author uuid) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    root record;
BEGIN
    PERFORM FROM public.activities AS parent
    JOIN public.activities AS reply ON reply.reply_to_activity_uuid = parent.uuid
    WHERE reply.uuid = activity AND reply.user_uuid = author
    FOR NO KEY UPDATE OF parent;
    UPDATE public.activities SET expires_at = GREATEST(now(), created_at), search_text = ''
    WHERE uuid = activity AND user_uuid = author AND COALESCE(expires_at, 'infinity') > clock_timestamp()
    RETURNING uuid, expires_at, reply_to_activity_uuid INTO root;
    UPDATE public.activities SET replies_count = replies_count - 1 WHERE uuid = root.reply_to_activity_uuid;
    PERFORM public.expire_descendants(
        ARRAY[root.uuid], root.expires_at, 10000,
        GREATEST(statement_timestamp() + interval '1 second', clock_timestamp() + interval '0.5 seconds')
    );
    RETURN root.uuid;
END
$$;

-- Two users have one conversation. Its uuid is computed from theirs, so that two first
-- messages at one moment get the same primary key. The uuid is a hash, in version 8 of
-- RFC 9562.
CREATE OR REPLACE FUNCTION message_group_uuid(one uuid, other uuid) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (
        SELECT encode(
            set_byte(set_byte(hash, 6, 128 | (get_byte(hash, 6) & 15)), 8, 128 | (get_byte(hash, 8) & 63)), 'hex'
        )::uuid
        FROM (
            SELECT substring(sha256(uuid_send(LEAST(one, other)) || uuid_send(GREATEST(one, other))) FOR 16) AS hash
        ) AS hashed
    );

CREATE TABLE IF NOT EXISTS message_groups (
    uuid uuid CONSTRAINT message_groups_pkey PRIMARY KEY,
    lesser_user_uuid uuid NOT NULL
        CONSTRAINT message_groups_lesser_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    greater_user_uuid uuid NOT NULL
        CONSTRAINT message_groups_greater_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    -- Only the service of the revision before last_messages reads this column. The trigger below updates it.
    last_message_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT message_groups_members_check CHECK (lesser_user_uuid < greater_user_uuid),
    CONSTRAINT message_groups_uuid_check CHECK (uuid = message_group_uuid(lesser_user_uuid, greater_user_uuid))
);

-- A user is the lesser member of some conversations and the greater member of others.
CREATE INDEX IF NOT EXISTS message_groups_lesser_user_idx ON message_groups
    (lesser_user_uuid, last_message_at DESC, uuid DESC);

CREATE INDEX IF NOT EXISTS message_groups_greater_user_idx ON message_groups
    (greater_user_uuid, last_message_at DESC, uuid DESC);

CREATE TABLE IF NOT EXISTS messages (
    uuid uuid DEFAULT gen_random_uuid() CONSTRAINT messages_pkey PRIMARY KEY,
    message_group_uuid uuid NOT NULL
        CONSTRAINT messages_message_group_uuid_fkey REFERENCES message_groups (uuid) ON DELETE CASCADE,
    -- The sender.
    user_uuid uuid NOT NULL
        CONSTRAINT messages_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    message text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Null: the message never expires.
    expires_at timestamptz,
    CONSTRAINT messages_message_check
        CHECK (char_length(message) <= 1024 AND message ~ '[^\u0001-\u0020\u007f-\u00a0]'),
    CONSTRAINT messages_expires_at_check CHECK (expires_at >= created_at)
);

-- The order of a conversation's pages. Postgres skips expired messages inside the index, as in activities_home_idx.
CREATE INDEX IF NOT EXISTS messages_message_group_idx ON messages
    (message_group_uuid, created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'));

-- The purge's order.
CREATE INDEX IF NOT EXISTS messages_purge_idx ON messages (expires_at) WHERE expires_at IS NOT NULL;

-- For the foreign key.
CREATE INDEX IF NOT EXISTS messages_user_idx ON messages (user_uuid);

-- The messages that have not expired. Messages of a deleted user stay for the other member.
CREATE OR REPLACE VIEW live_messages WITH (security_invoker = true) AS
SELECT
    uuid,
    message_group_uuid,
    user_uuid,
    message,
    created_at,
    expires_at
FROM messages
WHERE COALESCE(expires_at, 'infinity') > now();

-- Of each conversation the messages that are its last live one now or later: no newer message lives as long. A newer
-- message of the same ttl lives longer, so a conversation has one row at most for each ttl, and one for no ttl. The row
-- goes with the message.
CREATE TABLE IF NOT EXISTS last_messages (
    message_uuid uuid CONSTRAINT last_messages_pkey PRIMARY KEY
        CONSTRAINT last_messages_message_uuid_fkey REFERENCES messages (uuid) ON DELETE CASCADE,
    -- The conversation and its members. Deleting these deletes the message: no foreign keys are needed.
    message_group_uuid uuid NOT NULL,
    lesser_user_uuid uuid NOT NULL,
    greater_user_uuid uuid NOT NULL,
    -- The two times of the message.
    expires_at timestamptz,
    created_at timestamptz NOT NULL
);

-- The last live message of a conversation.
CREATE INDEX IF NOT EXISTS last_messages_message_group_idx ON last_messages
    (message_group_uuid, created_at DESC, message_uuid DESC, COALESCE(expires_at, 'infinity'));

-- The list of a user's conversations. A user is the lesser member of some and the greater member of others.
CREATE INDEX IF NOT EXISTS last_messages_lesser_user_idx ON last_messages
    (lesser_user_uuid, created_at DESC, message_group_uuid DESC, COALESCE(expires_at, 'infinity'));

CREATE INDEX IF NOT EXISTS last_messages_greater_user_idx ON last_messages
    (greater_user_uuid, created_at DESC, message_group_uuid DESC, COALESCE(expires_at, 'infinity'));

-- Plan each list as one of very many rows, as the lists below of which a page reads its own rows alone.
ALTER TABLE last_messages
    ALTER COLUMN lesser_user_uuid SET (n_distinct = 2),
    ALTER COLUMN greater_user_uuid SET (n_distinct = 2);

-- Store a new message in last_messages, and delete the older ones that live no longer. The update locks the
-- conversation, so that its messages take turns here. A message may have waited for a newer one that lives as long: then
-- it is not stored. The purge may be deleting an older one: this function does not wait for it.
--
-- The function runs with its owner's rights, so that no request needs any on these columns and rows.
CREATE OR REPLACE FUNCTION note_last_message() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pair record;
BEGIN
    UPDATE public.message_groups SET last_message_at = GREATEST(last_message_at, NEW.created_at)
    WHERE uuid = NEW.message_group_uuid
    RETURNING lesser_user_uuid, greater_user_uuid INTO pair;
    DELETE FROM public.last_messages
    WHERE last_messages.message_uuid = ANY (ARRAY(
        SELECT older.message_uuid
        FROM public.last_messages AS older
        WHERE
            older.message_group_uuid = NEW.message_group_uuid
            AND (older.created_at, older.message_uuid) < (NEW.created_at, NEW.uuid)
            AND COALESCE(older.expires_at, 'infinity') <= COALESCE(NEW.expires_at, 'infinity')
        FOR UPDATE SKIP LOCKED
    ));
    INSERT INTO public.last_messages (
        message_uuid, message_group_uuid, lesser_user_uuid, greater_user_uuid, expires_at, created_at
    )
    SELECT
        NEW.uuid, NEW.message_group_uuid, pair.lesser_user_uuid, pair.greater_user_uuid, NEW.expires_at, NEW.created_at
    WHERE NOT EXISTS (
        SELECT FROM public.last_messages AS newer
        WHERE
            newer.message_group_uuid = NEW.message_group_uuid
            AND (newer.created_at, newer.message_uuid) > (NEW.created_at, NEW.uuid)
            AND COALESCE(newer.expires_at, 'infinity') >= COALESCE(NEW.expires_at, 'infinity')
    );
    -- The sender has read what came before. After the message's end only the marker shows that.
    IF NEW.expires_at IS NOT NULL THEN
        INSERT INTO public.read_markers (user_uuid, feed, read_at)
        VALUES (NEW.user_uuid, NEW.message_group_uuid::text, NEW.created_at)
        ON CONFLICT (user_uuid, feed) DO UPDATE SET read_at = GREATEST(read_markers.read_at, EXCLUDED.read_at);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER messages_made
    AFTER INSERT ON messages
    FOR EACH ROW EXECUTE FUNCTION note_last_message();

-- Requests with an Idempotency-Key that succeeded. A repeated request finds here the
-- resource of the first one, and gets the resource's present state. The table has no
-- response bodies, so that no repeated request can read an expired activity.
CREATE TABLE IF NOT EXISTS idempotency_keys (
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

-- The purge's order.
CREATE INDEX IF NOT EXISTS idempotency_keys_created_at_idx ON idempotency_keys (created_at);

-- Likes of activities. A like ends with its activity: reads join live_activities, and the purge deletes by the cascade.
CREATE TABLE IF NOT EXISTS likes (
    activity_uuid uuid NOT NULL
        CONSTRAINT likes_activity_uuid_fkey REFERENCES activities (uuid) ON DELETE CASCADE,
    user_uuid uuid NOT NULL
        CONSTRAINT likes_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- The author of the activity.
    author_uuid uuid,
    CONSTRAINT likes_pkey PRIMARY KEY (activity_uuid, user_uuid)
);

-- The users who like an activity, newest like first.
CREATE INDEX IF NOT EXISTS likes_activity_idx ON likes (activity_uuid, created_at DESC, user_uuid DESC);

-- The activities that a user likes, newest like first.
CREATE INDEX IF NOT EXISTS likes_user_idx ON likes (user_uuid, created_at DESC, activity_uuid DESC);

-- The likes of an author's activities by others, newest first.
CREATE INDEX IF NOT EXISTS likes_author_idx ON likes (author_uuid, created_at DESC, user_uuid DESC)
    WHERE user_uuid <> author_uuid;

-- Reposts of activities. A repost is no activity: it has no text and no expiry, and ends with the original, as a like
-- does.
CREATE TABLE IF NOT EXISTS reposts (
    activity_uuid uuid NOT NULL
        CONSTRAINT reposts_activity_uuid_fkey REFERENCES activities (uuid) ON DELETE CASCADE,
    user_uuid uuid NOT NULL
        CONSTRAINT reposts_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- The author of the activity.
    author_uuid uuid,
    CONSTRAINT reposts_pkey PRIMARY KEY (activity_uuid, user_uuid)
);

-- The users who reposted an activity, newest repost first.
CREATE INDEX IF NOT EXISTS reposts_activity_idx ON reposts (activity_uuid, created_at DESC, user_uuid DESC);

-- The activities that a user reposted, newest repost first.
CREATE INDEX IF NOT EXISTS reposts_user_idx ON reposts (user_uuid, created_at DESC, activity_uuid DESC);

-- The reposts of an author's activities by others, newest first.
CREATE INDEX IF NOT EXISTS reposts_author_idx ON reposts (author_uuid, created_at DESC, user_uuid DESC)
    WHERE user_uuid <> author_uuid;

-- Store the author of the activity with a reaction, so that notifications need an index only.
CREATE OR REPLACE FUNCTION add_author() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.author_uuid := (SELECT activities.user_uuid FROM public.activities WHERE activities.uuid = NEW.activity_uuid);
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER likes_author
    BEFORE INSERT ON likes
    FOR EACH ROW
    WHEN (NEW.author_uuid IS NULL)
    EXECUTE FUNCTION add_author();

CREATE OR REPLACE TRIGGER reposts_author
    BEFORE INSERT ON reposts
    FOR EACH ROW
    WHEN (NEW.author_uuid IS NULL)
    EXECUTE FUNCTION add_author();

-- Count the reactions (likes or reposts) of a statement: one update for each activity, however many rows the statement
-- adds or deletes. The cascade of a deleted activity updates no row. The purge deletes activities one by one, most of
-- them without a reaction: hence the early return.
--
-- The function locks activities in one order, so that two statements cannot deadlock. An activity may have ended while
-- this function waited for its row, at a time later than now(): then the reaction is not written.
CREATE OR REPLACE FUNCTION count_reactions() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    counted integer;
BEGIN
    IF NOT EXISTS (SELECT FROM changed) THEN
        RETURN NULL;
    END IF;
    PERFORM FROM public.activities
    WHERE activities.uuid IN (SELECT changed.activity_uuid FROM changed)
    ORDER BY activities.created_at, activities.uuid
    FOR NO KEY UPDATE;
    UPDATE public.activities SET
        likes_count = activities.likes_count + CASE TG_TABLE_NAME WHEN 'likes' THEN difference.n ELSE 0 END,
        reposts_count = activities.reposts_count + CASE TG_TABLE_NAME WHEN 'reposts' THEN difference.n ELSE 0 END
    FROM (
        SELECT changed.activity_uuid, CASE TG_OP WHEN 'INSERT' THEN count(*) ELSE -count(*) END AS n
        FROM changed
        GROUP BY changed.activity_uuid
    ) AS difference
    WHERE
        activities.uuid = difference.activity_uuid
        AND (TG_OP = 'DELETE' OR COALESCE(activities.expires_at, 'infinity') > clock_timestamp());
    GET DIAGNOSTICS counted = ROW_COUNT;
    IF TG_OP = 'INSERT' AND counted < (SELECT count(DISTINCT changed.activity_uuid) FROM changed) THEN
        RAISE foreign_key_violation USING
            MESSAGE = 'the activity of this reaction has ended',
            CONSTRAINT = TG_TABLE_NAME || '_activity_uuid_fkey';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER likes_added
    AFTER INSERT ON likes
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_reactions();

CREATE OR REPLACE TRIGGER likes_removed
    AFTER DELETE ON likes
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_reactions();

CREATE OR REPLACE TRIGGER reposts_added
    AFTER INSERT ON reposts
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_reactions();

CREATE OR REPLACE TRIGGER reposts_removed
    AFTER DELETE ON reposts
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_reactions();

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
ALTER TABLE likes
    ALTER COLUMN activity_uuid SET (n_distinct = 2),
    ALTER COLUMN user_uuid SET (n_distinct = 2),
    ALTER COLUMN author_uuid SET (n_distinct = 2);
ALTER TABLE reposts
    ALTER COLUMN activity_uuid SET (n_distinct = 2),
    ALTER COLUMN user_uuid SET (n_distinct = 2),
    ALTER COLUMN author_uuid SET (n_distinct = 2);

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

-- Reports of activities and users, for operators. The evidence is a copy, because the activity will expire. A report goes
-- 180 days after its creation, or 90 days after an operator closed it: the purge deletes it at its `expires_at`.
CREATE TABLE IF NOT EXISTS reports (
    uuid uuid DEFAULT gen_random_uuid() CONSTRAINT reports_pkey PRIMARY KEY,
    -- Null after the deletion of the user, as reported_uuid.
    reporter_uuid uuid CONSTRAINT reports_reporter_uuid_fkey REFERENCES users (uuid) ON DELETE SET NULL,
    -- The reported user, or the author of the reported activity.
    reported_uuid uuid CONSTRAINT reports_reported_uuid_fkey REFERENCES users (uuid) ON DELETE SET NULL,
    -- Null: the report is about a user. No foreign key, because the report outlives the activity.
    activity_uuid uuid,
    category text NOT NULL,
    comment text,
    evidence jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Null: the report is open.
    closed_at timestamptz,
    expires_at timestamptz NOT NULL DEFAULT now() + interval '180 days',
    CONSTRAINT reports_category_check CHECK (category IN ('spam', 'legal', 'harassment', 'other')),
    CONSTRAINT reports_comment_check CHECK (char_length(comment) <= 1024)
);

-- A reporter's reports within 24 hours, and the same report of a reporter. Reports of a reporter take turns, so that no
-- unique index is needed: it would also find an expired report that the purge has not deleted yet.
CREATE INDEX IF NOT EXISTS reports_reporter_idx ON reports (reporter_uuid, created_at);
CREATE INDEX IF NOT EXISTS reports_subject_idx ON reports
    (reporter_uuid, COALESCE(activity_uuid, reported_uuid), category);

-- For the foreign key.
CREATE INDEX IF NOT EXISTS reports_reported_idx ON reports (reported_uuid);

-- The operators' list.
CREATE INDEX IF NOT EXISTS reports_open_idx ON reports (created_at, uuid) WHERE closed_at IS NULL;

-- The purge's order.
CREATE INDEX IF NOT EXISTS reports_expires_at_idx ON reports (expires_at);

-- Delete one batch: expired activities, the longest expired first and replies before their parents, expired messages,
-- reports and mutes, and idempotency keys older than 25 hours. A key is free again after 24 hours. A request that found
-- its key in use then reads the key's row: the 25th hour keeps the row for it. Before the deletion the function ends the
-- threads of unfinished_threads.
--
-- The cascade deletes at most `most_reactions` likes and reposts in a batch, which has fewer activities then. Of a more
-- popular activity each batch deletes that many, likes first, until the rest is few enough. They count as `ended`, as
-- deleted reports and mutes do, so that the caller goes on. So do the rows of deleted users: see purge_deletions.
--
-- Returns the numbers of rows, and the expiry of the oldest remaining activity or message. While another transaction purges it
-- returns no row. The lock ends with the transaction: a session's lock would stay behind in a pooler. The function
-- skips locked rows.
CREATE OR REPLACE FUNCTION purge(batch integer)
    RETURNS TABLE (
        activities integer, ended integer, idempotency_keys integer, messages integer, oldest timestamptz
    )
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    most constant integer := 5 * batch;
    most_reactions constant integer := 100 * batch;
    until constant timestamptz := statement_timestamp() + interval '1 second';
    candidates uuid[];
    reactions_counts integer[];
    likes_deleted integer;
    reposts_deleted integer;
    reports_deleted integer;
    mutes_deleted integer;
    conversations uuid[];
    kept uuid[];
    threads record;
BEGIN
    IF NOT pg_try_advisory_xact_lock(4568) THEN
        RETURN;
    END IF;
    activities := 0;
    ended := 0;
    FOR threads IN
        WITH unfinished AS (
            DELETE FROM public.unfinished_threads
            WHERE activity_uuid IN (SELECT activity_uuid FROM public.unfinished_threads LIMIT batch)
            RETURNING activity_uuid
        )
        SELECT array_agg(ancestor.uuid) AS ancestors, ancestor.expires_at
        FROM unfinished
        JOIN public.activities AS ancestor ON ancestor.uuid = unfinished.activity_uuid
        WHERE ancestor.expires_at <= now()
        GROUP BY ancestor.expires_at
    LOOP
        ended := ended + public.expire_descendants(threads.ancestors, threads.expires_at, most - ended, until);
    END LOOP;
    -- Ending live replies is urgent, because readers still see them. Freeing space can wait for the next batch.
    IF ended > 0 THEN
        batch := 0;
    END IF;

    -- A reply ends with its parent and is younger, so it comes before its parent here.
    SELECT COALESCE(array_agg(candidate.uuid), '{}'), COALESCE(array_agg(candidate.reactions_count), '{}')
    INTO candidates, reactions_counts
    FROM (
        SELECT expired.uuid, expired.likes_count + expired.reposts_count AS reactions_count
        FROM public.activities AS expired
        WHERE expired.expires_at <= now()
        ORDER BY expired.expires_at, expired.created_at DESC
        LIMIT batch
        FOR UPDATE SKIP LOCKED
    ) AS candidate;
    IF (SELECT sum(n) FROM unnest(reactions_counts) AS counted (n)) > most_reactions THEN
        IF reactions_counts[1] > most_reactions THEN
            DELETE FROM public.likes
            WHERE likes.ctid = ANY (ARRAY(
                SELECT excess.ctid FROM public.likes AS excess WHERE excess.activity_uuid = candidates[1]
                LIMIT most_reactions
            ));
            GET DIAGNOSTICS likes_deleted = ROW_COUNT;
            DELETE FROM public.reposts
            WHERE reposts.ctid = ANY (ARRAY(
                SELECT excess.ctid FROM public.reposts AS excess WHERE excess.activity_uuid = candidates[1]
                LIMIT most_reactions - likes_deleted
            ));
            GET DIAGNOSTICS reposts_deleted = ROW_COUNT;
            ended := ended + likes_deleted + reposts_deleted;
        END IF;
        candidates := ARRAY(
            SELECT counted.uuid
            FROM (
                SELECT candidate.uuid, sum(candidate.reactions_count) OVER (ORDER BY candidate.n) AS reactions_count
                FROM unnest(candidates, reactions_counts) WITH ORDINALITY AS candidate (uuid, reactions_count, n)
            ) AS counted
            WHERE counted.reactions_count <= most_reactions
        );
    END IF;
    -- A cascade has no bound: an activity with a reply outside of the batch stays, and so do its ancestors.
    kept := ARRAY(
        WITH RECURSIVE kept AS (
            SELECT reply.reply_to_activity_uuid AS uuid
            FROM unnest(candidates) AS candidate (uuid)
            JOIN public.activities AS reply ON reply.reply_to_activity_uuid = candidate.uuid
            WHERE reply.uuid <> ALL (candidates)
            UNION
            SELECT reply.reply_to_activity_uuid
            FROM kept
            JOIN public.activities AS reply ON reply.uuid = kept.uuid
            WHERE reply.reply_to_activity_uuid = ANY (candidates)
        )
        SELECT kept.uuid FROM kept
    );
    DELETE FROM public.activities AS expired WHERE expired.uuid = ANY (candidates) AND expired.uuid <> ALL (kept);
    GET DIAGNOSTICS activities = ROW_COUNT;
    IF kept <> '{}' THEN
        -- Only rows of a COPY come here: their replies may live longer or be older than the parent.
        FOR threads IN
            SELECT array_agg(ancestor.uuid) AS ancestors, ancestor.expires_at
            FROM public.activities AS ancestor
            WHERE ancestor.uuid = ANY (kept)
            GROUP BY ancestor.expires_at
        LOOP
            ended := ended + public.expire_descendants(threads.ancestors, threads.expires_at, most - ended, until);
        END LOOP;
        IF activities = 0 THEN
            -- The batch could delete no candidate, so delete the deepest replies below the candidates.
            candidates := ARRAY(
                WITH RECURSIVE thread AS (
                    SELECT unnest(kept) AS uuid
                    UNION
                    SELECT reply.uuid
                    FROM thread JOIN public.activities AS reply ON reply.reply_to_activity_uuid = thread.uuid
                )
                SELECT last.uuid
                FROM thread
                JOIN public.activities AS last ON last.uuid = thread.uuid
                WHERE
                    last.expires_at <= now()
                    AND NOT EXISTS (SELECT FROM public.activities AS reply WHERE reply.reply_to_activity_uuid = last.uuid)
                LIMIT batch
                FOR UPDATE OF last SKIP LOCKED
            );
            DELETE FROM public.activities AS expired WHERE expired.uuid = ANY (candidates);
            GET DIAGNOSTICS activities = ROW_COUNT;
        END IF;
    END IF;

    WITH expired AS (
        SELECT candidate.uuid
        FROM public.messages AS candidate
        WHERE candidate.expires_at <= now()
        ORDER BY candidate.expires_at
        LIMIT batch
        FOR UPDATE SKIP LOCKED
    ),
    deleted AS (
        DELETE FROM public.messages AS candidate USING expired WHERE candidate.uuid = expired.uuid
        RETURNING candidate.message_group_uuid
    )
    SELECT count(*), array_agg(DISTINCT deleted.message_group_uuid) INTO messages, conversations FROM deleted;
    PERFORM public.delete_conversations(conversations);

    WITH free AS (
        SELECT keys.user_uuid, keys.key
        FROM public.idempotency_keys AS keys
        WHERE keys.created_at <= now() - interval '25 hours'
        ORDER BY keys.created_at
        LIMIT batch
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM public.idempotency_keys AS keys USING free WHERE keys.user_uuid = free.user_uuid AND keys.key = free.key;
    GET DIAGNOSTICS idempotency_keys = ROW_COUNT;

    WITH expired AS (
        SELECT reports.uuid
        FROM public.reports
        WHERE reports.expires_at <= now()
        ORDER BY reports.expires_at
        LIMIT batch
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM public.reports USING expired WHERE reports.uuid = expired.uuid;
    GET DIAGNOSTICS reports_deleted = ROW_COUNT;
    ended := ended + reports_deleted;

    WITH expired AS (
        SELECT mutes.muter_uuid, mutes.muted_uuid
        FROM public.mutes
        WHERE mutes.expires_at <= now()
        ORDER BY mutes.expires_at
        LIMIT batch
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM public.mutes USING expired
    WHERE mutes.muter_uuid = expired.muter_uuid AND mutes.muted_uuid = expired.muted_uuid;
    GET DIAGNOSTICS mutes_deleted = ROW_COUNT;
    ended := ended + mutes_deleted;
    -- A batch without rows is one that ended live replies.
    IF batch > 0 THEN
        ended := ended + public.purge_deletions(batch, until);
    END IF;

    oldest := LEAST(
        (
            SELECT expired.expires_at FROM public.activities AS expired
            WHERE expired.expires_at <= now() ORDER BY expired.expires_at LIMIT 1
        ),
        (
            SELECT expired.expires_at FROM public.messages AS expired
            WHERE expired.expires_at <= now() ORDER BY expired.expires_at LIMIT 1
        )
    );
    RETURN NEXT;
END
$$;

-- Follows: the follower reads the activities of the followed user.
CREATE TABLE IF NOT EXISTS follows (
    follower_uuid uuid NOT NULL
        CONSTRAINT follows_follower_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    followed_uuid uuid NOT NULL
        CONSTRAINT follows_followed_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT follows_pkey PRIMARY KEY (follower_uuid, followed_uuid),
    CONSTRAINT follows_self_check CHECK (follower_uuid <> followed_uuid)
);

-- The followers of a user, and the users whom a user follows, newest follow first.
CREATE INDEX IF NOT EXISTS follows_followed_idx ON follows (followed_uuid, created_at DESC, follower_uuid DESC);
CREATE INDEX IF NOT EXISTS follows_follower_idx ON follows (follower_uuid, created_at DESC, followed_uuid DESC);

-- The planner then expects as many followers of any user as the most popular user has. By the average it would expect a
-- few, and read and sort all followers of a popular user for a page.
ALTER TABLE follows ALTER COLUMN followed_uuid SET (n_distinct = 1);

-- A user's numbers of follows. A user without a row has none. The table `users` would grow with each follow.
CREATE TABLE IF NOT EXISTS follow_counts (
    user_uuid uuid CONSTRAINT follow_counts_pkey PRIMARY KEY
        CONSTRAINT follow_counts_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    followers_count integer NOT NULL,
    following_count integer NOT NULL,
    CONSTRAINT follow_counts_check CHECK (followers_count >= 0 AND following_count >= 0)
);

-- Count the follows of a statement: one update for each user, however many follows the statement adds or deletes. The
-- function locks the counts in one order, so that two statements cannot deadlock.
CREATE OR REPLACE FUNCTION count_follows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO public.follow_counts (user_uuid, followers_count, following_count)
        SELECT counted.user_uuid, sum(counted.followers), sum(counted.following)
        FROM (
            SELECT changed.followed_uuid AS user_uuid, 1 AS followers, 0 AS following FROM changed
            UNION ALL
            SELECT changed.follower_uuid, 0, 1 FROM changed
        ) AS counted
        GROUP BY counted.user_uuid
        ORDER BY counted.user_uuid
        ON CONFLICT (user_uuid) DO UPDATE SET
            followers_count = follow_counts.followers_count + EXCLUDED.followers_count,
            following_count = follow_counts.following_count + EXCLUDED.following_count;
    ELSE
        PERFORM FROM public.follow_counts
        WHERE
            follow_counts.user_uuid IN (
                SELECT changed.followed_uuid FROM changed UNION SELECT changed.follower_uuid FROM changed
            )
        ORDER BY follow_counts.user_uuid
        FOR NO KEY UPDATE;
        UPDATE public.follow_counts SET
            followers_count = follow_counts.followers_count - removed.followers_count,
            following_count = follow_counts.following_count - removed.following_count
        FROM (
            SELECT counted.user_uuid, sum(counted.followers) AS followers_count, sum(counted.following) AS following_count
            FROM (
                SELECT changed.followed_uuid AS user_uuid, 1 AS followers, 0 AS following FROM changed
                UNION ALL
                SELECT changed.follower_uuid, 0, 1 FROM changed
            ) AS counted
            GROUP BY counted.user_uuid
        ) AS removed
        WHERE follow_counts.user_uuid = removed.user_uuid;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER follows_added
    AFTER INSERT ON follows
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_follows();

CREATE OR REPLACE TRIGGER follows_removed
    AFTER DELETE ON follows
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_follows();

-- Delete a user's follows before the user, in one order. The cascades would delete by the one direction and then by the
-- other: two users who follow each other, and are deleted at the same time, could deadlock.
CREATE OR REPLACE FUNCTION delete_follows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.follows
    WHERE OLD.uuid IN (follows.follower_uuid, follows.followed_uuid)
    ORDER BY follows.follower_uuid, follows.followed_uuid
    FOR UPDATE;
    DELETE FROM public.follows WHERE OLD.uuid IN (follows.follower_uuid, follows.followed_uuid);
    RETURN OLD;
END
$$;

CREATE OR REPLACE TRIGGER users_follows
    BEFORE DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION delete_follows();

-- Mutes: the muter does not see the activities of the muted user, nor that user's notifications. Null: until the muter
-- removes the mute.
CREATE TABLE IF NOT EXISTS mutes (
    muter_uuid uuid NOT NULL
        CONSTRAINT mutes_muter_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    muted_uuid uuid NOT NULL
        CONSTRAINT mutes_muted_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT mutes_pkey PRIMARY KEY (muter_uuid, muted_uuid),
    CONSTRAINT mutes_self_check CHECK (muter_uuid <> muted_uuid)
);

-- The users whom a user mutes, newest mute first.
CREATE INDEX IF NOT EXISTS mutes_muter_idx ON mutes
    (muter_uuid, created_at DESC, muted_uuid DESC, COALESCE(expires_at, 'infinity'));

-- The mutes of a user, for the deletion of that user.
CREATE INDEX IF NOT EXISTS mutes_muted_idx ON mutes (muted_uuid, muter_uuid);

-- The purge's order.
CREATE INDEX IF NOT EXISTS mutes_purge_idx ON mutes (expires_at) WHERE expires_at IS NOT NULL;

-- Blocks: blocker and blocked user do not see each other's activities, and cannot reach each other.
CREATE TABLE IF NOT EXISTS blocks (
    blocker_uuid uuid NOT NULL
        CONSTRAINT blocks_blocker_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    blocked_uuid uuid NOT NULL
        CONSTRAINT blocks_blocked_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT blocks_pkey PRIMARY KEY (blocker_uuid, blocked_uuid),
    CONSTRAINT blocks_self_check CHECK (blocker_uuid <> blocked_uuid)
);

-- The users whom a user blocks, newest block first.
CREATE INDEX IF NOT EXISTS blocks_blocker_idx ON blocks (blocker_uuid, created_at DESC, blocked_uuid DESC);

-- A pair from the side of the blocked user.
CREATE INDEX IF NOT EXISTS blocks_blocked_idx ON blocks (blocked_uuid, blocker_uuid);

-- Both directions of each block. Reads and writes use this view, with the reader's own rights.
CREATE OR REPLACE VIEW block_pairs WITH (security_invoker = true) AS
SELECT blocker_uuid AS user_uuid, blocked_uuid AS other_user_uuid FROM blocks
UNION ALL
SELECT blocked_uuid, blocker_uuid FROM blocks;

-- The one definition of "hidden": the users whom a reader does not see in a feed.
CREATE OR REPLACE VIEW hidden_users WITH (security_invoker = true) AS
SELECT muter_uuid AS reader_uuid, muted_uuid AS user_uuid FROM mutes WHERE COALESCE(expires_at, 'infinity') > now()
UNION ALL
SELECT user_uuid, other_user_uuid FROM block_pairs;

-- Delete a user's mutes and blocks before the user, in one order, as delete_follows does.
CREATE OR REPLACE FUNCTION delete_mutes_and_blocks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.mutes
    WHERE OLD.uuid IN (mutes.muter_uuid, mutes.muted_uuid)
    ORDER BY mutes.muter_uuid, mutes.muted_uuid
    FOR UPDATE;
    DELETE FROM public.mutes WHERE OLD.uuid IN (mutes.muter_uuid, mutes.muted_uuid);
    PERFORM FROM public.blocks
    WHERE OLD.uuid IN (blocks.blocker_uuid, blocks.blocked_uuid)
    ORDER BY blocks.blocker_uuid, blocks.blocked_uuid
    FOR UPDATE;
    DELETE FROM public.blocks WHERE OLD.uuid IN (blocks.blocker_uuid, blocks.blocked_uuid);
    RETURN OLD;
END
$$;

CREATE OR REPLACE TRIGGER users_mutes_and_blocks
    BEFORE DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION delete_mutes_and_blocks();

-- Delete conversations of a deleted user that have no messages any more, with their markers, and the rows of deleted
-- users who have no conversation left. Other conversations stay.
CREATE OR REPLACE FUNCTION delete_conversations(candidates uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    members uuid[];
BEGIN
    WITH deleted AS (
        DELETE FROM public.message_groups AS conversation
        WHERE
            conversation.uuid = ANY (candidates)
            AND EXISTS (
                SELECT FROM public.users
                WHERE
                    users.uuid IN (conversation.lesser_user_uuid, conversation.greater_user_uuid)
                    AND users.cognito_user_id IS NULL
            )
            AND NOT EXISTS (SELECT FROM public.messages WHERE messages.message_group_uuid = conversation.uuid)
        RETURNING conversation.uuid, conversation.lesser_user_uuid, conversation.greater_user_uuid
    ),
    markers AS (
        DELETE FROM public.read_markers AS marker
        USING deleted
        WHERE
            marker.user_uuid IN (deleted.lesser_user_uuid, deleted.greater_user_uuid)
            AND marker.feed = deleted.uuid::text
    )
    SELECT array_agg(member.uuid) INTO members
    FROM deleted
    CROSS JOIN LATERAL unnest(ARRAY[deleted.lesser_user_uuid, deleted.greater_user_uuid]) AS member (uuid);
    -- The purge deletes a user whose deletion has not ended.
    DELETE FROM public.users
    WHERE
        users.uuid = ANY (members)
        AND users.cognito_user_id IS NULL
        AND NOT EXISTS (SELECT FROM public.deletions WHERE deletions.user_uuid = users.uuid)
        AND NOT EXISTS (SELECT FROM public.message_groups WHERE message_groups.lesser_user_uuid = users.uuid)
        AND NOT EXISTS (SELECT FROM public.message_groups WHERE message_groups.greater_user_uuid = users.uuid);
END
$$;

-- Delete rows of deleted users, at most about `most`, and none after `until`. Returns the number of rows. A deletion
-- that was requested a minute ago has lost its process: the user pool's outcome is unknown then.
--
-- A deletion ends at the earliest 70 seconds after it was confirmed. Each write that began earlier is committed then:
-- a request waits for the database for a minute at most (DATABASE_TIMEOUT_SECONDS).
CREATE OR REPLACE FUNCTION purge_deletions(most integer, until timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    -- Each step of a deletion, in order, with the columns that name a user: what to do with at most $2 rows of user $1.
    steps constant text[] := ARRAY[
        'DELETE FROM public.likes WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM public.likes WHERE user_uuid = $1 LIMIT $2))',
        'DELETE FROM public.reposts WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM public.reposts WHERE user_uuid = $1 LIMIT $2))',
        'DELETE FROM public.follows WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM public.follows WHERE follower_uuid = $1 LIMIT $2))',
        'DELETE FROM public.follows WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM public.follows WHERE followed_uuid = $1 LIMIT $2))',
        'DELETE FROM public.mutes WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM public.mutes WHERE muter_uuid = $1 LIMIT $2))',
        'DELETE FROM public.mutes WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM public.mutes WHERE muted_uuid = $1 LIMIT $2))',
        'DELETE FROM public.blocks WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM public.blocks WHERE blocker_uuid = $1 LIMIT $2))',
        'DELETE FROM public.blocks WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM public.blocks WHERE blocked_uuid = $1 LIMIT $2))',
        -- The message has an index of trigrams, so a row here takes as long as ten elsewhere.
        'WITH removed AS (
            DELETE FROM public.mentionings WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM public.mentionings WHERE user_uuid = $1 LIMIT ($2 + 9) / 10))
            RETURNING activity_uuid
        )
        UPDATE public.activities SET mentions = array_remove(mentions, $1)
        FROM removed WHERE activities.uuid = removed.activity_uuid',
        'DELETE FROM public.read_markers WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM public.read_markers WHERE user_uuid = $1 LIMIT $2))',
        'DELETE FROM public.idempotency_keys WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM public.idempotency_keys WHERE user_uuid = $1 LIMIT $2))',
        'UPDATE public.reports SET reporter_uuid = NULL, comment = NULL WHERE uuid = ANY (ARRAY(
            SELECT uuid FROM public.reports WHERE reporter_uuid = $1 LIMIT $2))',
        'UPDATE public.reports SET reported_uuid = NULL WHERE uuid = ANY (ARRAY(
            SELECT uuid FROM public.reports WHERE reported_uuid = $1 LIMIT $2))'
    ];
    step text;
    remaining integer := most;
    affected integer;
    before integer;
    hash bytea;
    deletion record;
    mine uuid[];
    own uuid;
    conversations uuid[];
    emptied uuid[];
BEGIN
    FOR hash IN
        SELECT deletions.sub_hash
        FROM public.deletions
        WHERE
            deletions.finished_at IS NULL
            AND deletions.confirmed_at IS NULL
            AND deletions.requested_at < now() - interval '60 seconds'
        LIMIT LEAST(100, most)
        FOR UPDATE SKIP LOCKED
    LOOP
        PERFORM public.confirm_deletion(hash, 'unknown');
        remaining := remaining - 1;
    END LOOP;

    FOR deletion IN
        SELECT deletions.sub_hash, deletions.user_uuid, deletions.confirmed_at
        FROM public.deletions
        WHERE deletions.finished_at IS NULL AND deletions.confirmed_at IS NOT NULL
        ORDER BY deletions.confirmed_at
        LIMIT 20
        FOR UPDATE SKIP LOCKED
    LOOP
        -- With no row left to delete, each step would seem done.
        EXIT WHEN remaining < 1;
        before := remaining;
        PERFORM public.anonymise_user(deletion.user_uuid);
        -- End activities with the replies below, and lock all parents and activities in one order before.
        mine := ARRAY(
            SELECT activities.uuid
            FROM public.activities
            WHERE
                activities.user_uuid = deletion.user_uuid
                -- A row of a COPY may be younger than now(), and ends at its created_at.
                AND COALESCE(activities.expires_at, 'infinity') > GREATEST(now(), activities.created_at)
            LIMIT GREATEST(remaining / 5, 1)
        );
        PERFORM FROM public.activities
        WHERE
            activities.uuid = ANY (mine || ARRAY(
                SELECT reply.reply_to_activity_uuid FROM public.activities AS reply WHERE reply.uuid = ANY (mine)
            ))
        ORDER BY activities.created_at, activities.uuid
        FOR NO KEY UPDATE;
        FOREACH own IN ARRAY mine LOOP
            EXIT WHEN clock_timestamp() > until;
            PERFORM public.end_activity(own, deletion.user_uuid);
            remaining := remaining - 5;
        END LOOP;

        -- A transaction has one step that changes rows: a step locks activities in one order, and two steps would not.
        FOREACH step IN ARRAY steps LOOP
            EXIT WHEN remaining < before;
            EXECUTE step USING deletion.user_uuid, remaining;
            GET DIAGNOSTICS affected = ROW_COUNT;
            remaining := remaining - affected;
        END LOOP;
        EXIT WHEN remaining < before OR clock_timestamp() > until;

        -- The rest waits for the writes that began before, and for the batches that delete the ended activities.
        CONTINUE WHEN
            deletion.confirmed_at > clock_timestamp() - interval '70 seconds'
            OR EXISTS (SELECT FROM public.activities WHERE activities.user_uuid = deletion.user_uuid)
            OR EXISTS (SELECT FROM public.activities WHERE activities.reply_to_user_uuid = deletion.user_uuid);

        conversations := ARRAY(
            SELECT conversation.uuid FROM public.message_groups AS conversation
            WHERE conversation.lesser_user_uuid = deletion.user_uuid
            UNION ALL
            SELECT conversation.uuid FROM public.message_groups AS conversation
            WHERE conversation.greater_user_uuid = deletion.user_uuid
        );
        -- Messages of two deleted members have no reader any more.
        WITH lost AS (
            DELETE FROM public.messages
            WHERE messages.ctid = ANY (ARRAY(
                SELECT lost.ctid
                FROM public.message_groups AS conversation
                JOIN public.users AS other ON
                    other.uuid = CASE conversation.lesser_user_uuid
                        WHEN deletion.user_uuid THEN conversation.greater_user_uuid ELSE conversation.lesser_user_uuid
                    END
                JOIN public.messages AS lost ON lost.message_group_uuid = conversation.uuid
                WHERE
                    conversation.uuid = ANY (conversations)
                    AND other.cognito_user_id IS NULL
                LIMIT remaining
            ))
            RETURNING messages.message_group_uuid
        )
        SELECT count(*), array_agg(DISTINCT lost.message_group_uuid) INTO affected, emptied FROM lost;
        PERFORM public.delete_conversations(emptied);
        remaining := remaining - affected;
        CONTINUE WHEN affected > 0;
        PERFORM public.delete_conversations(conversations);
        -- An expired message keeps its conversation until the purge deletes the message.
        UPDATE public.deletions SET finished_at = clock_timestamp(), user_uuid = NULL
        WHERE deletions.sub_hash = deletion.sub_hash;
        DELETE FROM public.follow_counts WHERE follow_counts.user_uuid = deletion.user_uuid;
        DELETE FROM public.users
        WHERE
            users.uuid = deletion.user_uuid
            AND NOT EXISTS (
                SELECT FROM public.message_groups WHERE message_groups.lesser_user_uuid = deletion.user_uuid
            )
            AND NOT EXISTS (
                SELECT FROM public.message_groups WHERE message_groups.greater_user_uuid = deletion.user_uuid
            );
        remaining := remaining - 1;
    END LOOP;

    -- An operator closes a deletion of unknown outcome.
    DELETE FROM public.deletions
    WHERE deletions.sub_hash = ANY (ARRAY(
        SELECT expired.sub_hash
        FROM public.deletions AS expired
        WHERE expired.finished_at IS NOT NULL AND expired.expires_at <= now() AND expired.outcome = 'deleted'
        LIMIT GREATEST(remaining, 0)
    ));
    GET DIAGNOSTICS affected = ROW_COUNT;
    RETURN most - remaining + affected;
END
$$;


-- The service's role may read and write rows, and has no other rights. bin/db-create
-- creates the role.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM cruddur_service;
REVOKE ALL ON SCHEMA public FROM cruddur_service;
-- In a database of Postgres 14 or older every role may create tables in this schema.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO cruddur_service;
GRANT
    -- SELECT leaves out `email`, because no response holds it.
    SELECT (uuid, handle, display_name, bio, cognito_user_id, created_at),
    INSERT (handle, display_name, email, cognito_user_id),
    UPDATE (display_name, bio)
    ON users TO cruddur_service;
GRANT
    SELECT (
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
        created_at,
        search_text,
        tags
    ),
    INSERT (
        uuid,
        user_uuid,
        message,
        search_text,
        mentions,
        tags,
        reply_to_activity_uuid,
        reply_to_user_uuid,
        expires_at
    ),
    -- The triggers count_reply and count_reactions need this right.
    UPDATE (replies_count, reposts_count, likes_count)
    ON activities TO cruddur_service;
GRANT SELECT ON live_activities TO cruddur_service;
-- The view live_activities and the ledger (backend-flask/lib/ledger.py) need these. Only functions read and write the
-- others.
GRANT
    SELECT (sub_hash, user_uuid, outcome, requested_at, confirmed_at, finished_at, expires_at, in_ledger),
    UPDATE (in_ledger)
    ON deletions TO cruddur_service;
GRANT
    SELECT (activity_uuid, user_uuid, author_uuid, created_at),
    INSERT (activity_uuid, user_uuid),
    DELETE
    ON likes TO cruddur_service;
GRANT
    SELECT (activity_uuid, user_uuid, author_uuid, created_at),
    INSERT (activity_uuid, user_uuid),
    DELETE
    ON reposts TO cruddur_service;
GRANT
    SELECT (follower_uuid, followed_uuid, created_at),
    INSERT (follower_uuid, followed_uuid),
    DELETE
    ON follows TO cruddur_service;
GRANT
    SELECT (muter_uuid, muted_uuid, expires_at, created_at),
    INSERT (muter_uuid, muted_uuid, expires_at),
    UPDATE (expires_at),
    DELETE
    ON mutes TO cruddur_service;
GRANT
    SELECT (blocker_uuid, blocked_uuid, created_at),
    INSERT (blocker_uuid, blocked_uuid),
    -- ON CONFLICT DO UPDATE of an existing block needs this right.
    UPDATE (blocked_uuid),
    DELETE
    ON blocks TO cruddur_service;
GRANT SELECT ON block_pairs, hidden_users TO cruddur_service;
-- The trigger count_follows needs the rights to write.
GRANT
    SELECT (user_uuid, followers_count, following_count),
    INSERT (user_uuid, followers_count, following_count),
    UPDATE (followers_count, following_count)
    ON follow_counts TO cruddur_service;
GRANT
    SELECT (activity_uuid, user_uuid, expires_at, created_at),
    INSERT (activity_uuid, user_uuid, expires_at, created_at)
    ON mentionings TO cruddur_service;
GRANT
    SELECT (user_uuid, feed, read_at),
    INSERT (user_uuid, feed, read_at),
    UPDATE (read_at)
    ON read_markers TO cruddur_service;
GRANT
    SELECT (activity_uuid, tag, user_uuid, expires_at, created_at),
    INSERT (activity_uuid, tag, user_uuid, expires_at, created_at)
    ON taggings TO cruddur_service;
-- SELECT leaves out `comment` and `evidence`, because only operators read them.
GRANT
    SELECT (uuid, reporter_uuid, reported_uuid, activity_uuid, category, created_at, expires_at),
    INSERT (uuid, reporter_uuid, reported_uuid, activity_uuid, category, comment, evidence)
    ON reports TO cruddur_service;
GRANT
    SELECT (uuid, lesser_user_uuid, greater_user_uuid, last_message_at),
    INSERT (uuid, lesser_user_uuid, greater_user_uuid),
    -- ON CONFLICT DO UPDATE of an existing pair needs this right. A check allows no other value.
    UPDATE (uuid)
    ON message_groups TO cruddur_service;
GRANT
    SELECT (uuid, message_group_uuid, user_uuid, message, created_at, expires_at),
    INSERT (uuid, message_group_uuid, user_uuid, message, expires_at)
    ON messages TO cruddur_service;
GRANT SELECT ON live_messages TO cruddur_service;
GRANT
    SELECT (message_uuid, message_group_uuid, lesser_user_uuid, greater_user_uuid, expires_at, created_at)
    ON last_messages TO cruddur_service;
GRANT
    SELECT (user_uuid, key, fingerprint, made, created_at),
    INSERT (user_uuid, key, fingerprint, made),
    UPDATE (fingerprint, made, created_at)
    ON idempotency_keys TO cruddur_service;

-- By default every role may call a function. Postgres does not check EXECUTE when a trigger fires.
REVOKE EXECUTE ON FUNCTION
    count_reply,
    count_reactions,
    add_author,
    add_mentionings,
    add_taggings,
    note_last_message,
    message_group_uuid,
    expire_descendants,
    end_activity,
    purge
    FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION count_follows, delete_follows, delete_mutes_and_blocks FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION
    skip_deleted_user,
    admit,
    request_deletion,
    refuse_deletion,
    anonymise_user,
    confirm_deletion,
    delete_conversations,
    purge_deletions
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION message_group_uuid, end_activity, purge TO cruddur_service;
GRANT EXECUTE ON FUNCTION admit, request_deletion, refuse_deletion, confirm_deletion TO cruddur_service;

-- The schema's revision, from which bin/db-migrate continues: the name of the newest file
-- in db/migrations/versions. The service checks it when it starts.
CREATE TABLE IF NOT EXISTS alembic_version (
    version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY
);
INSERT INTO alembic_version (version_num)
SELECT '0019' WHERE NOT EXISTS (SELECT FROM alembic_version);
GRANT SELECT (version_num) ON alembic_version TO cruddur_service;
