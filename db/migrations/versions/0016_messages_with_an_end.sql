-- The service of the previous revision continues to run: its messages never expire, and the trigger stores them in
-- last_messages. It calls the new function `purge` by the same name, and does not see the new column.
--
-- This statement comes first, because its lock is the strongest of the revision. With a weaker lock before it, the
-- revision could deadlock with a write.
ALTER TABLE messages
    DROP CONSTRAINT messages_pkey,
    ADD CONSTRAINT messages_pkey PRIMARY KEY USING INDEX messages_uuid_key;

-- The live messages, as live_activities.
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

-- The function returns a further column. CREATE OR REPLACE cannot add it.
DROP FUNCTION purge(integer);

-- Delete one batch: expired activities, the longest expired first and replies before their parents, expired messages,
-- reports and mutes, and idempotency keys older than 25 hours. A key is free again after 24 hours. A request that found
-- its key in use then reads the key's row: the 25th hour keeps the row for it. Before the deletion the function ends the
-- threads of unfinished_threads.
--
-- The cascade deletes at most `most_reactions` likes and reposts in a batch, which has fewer activities then. Of a more
-- popular activity each batch deletes that many, likes first, until the rest is few enough. They count as `ended`, as
-- deleted reports and mutes do, so that the caller goes on.
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
    )
    DELETE FROM public.messages AS candidate USING expired WHERE candidate.uuid = expired.uuid;
    GET DIAGNOSTICS messages = ROW_COUNT;

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

REVOKE EXECUTE ON FUNCTION purge FROM PUBLIC;
GRANT EXECUTE ON FUNCTION purge TO cruddur_service;
REVOKE UPDATE (last_message_at) ON message_groups FROM cruddur_service;
GRANT
    SELECT (uuid, message_group_uuid, user_uuid, message, created_at, expires_at),
    INSERT (uuid, message_group_uuid, user_uuid, message, expires_at)
    ON messages TO cruddur_service;
GRANT SELECT ON live_messages TO cruddur_service;
GRANT
    SELECT (message_uuid, message_group_uuid, lesser_user_uuid, greater_user_uuid, expires_at, created_at)
    ON last_messages TO cruddur_service;
