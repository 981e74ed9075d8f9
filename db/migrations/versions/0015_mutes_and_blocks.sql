-- The service of the previous revision continues to run: it neither reads nor writes the new tables.
--
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

-- Delete one batch: expired activities, the longest expired first and replies before their parents, expired reports and
-- mutes, and idempotency keys older than 25 hours. A key is free again after 24 hours. A request that found its key in
-- use then reads the key's row: the 25th hour keeps the row for it. Before the deletion the function ends the threads of
-- unfinished_threads.
--
-- The cascade deletes at most `most_reactions` likes and reposts in a batch, which has fewer activities then. Of a more
-- popular activity each batch deletes that many, likes first, until the rest is few enough. They count as `ended`, as
-- deleted reports and mutes do, so that the caller goes on.
--
-- Returns the numbers of rows, and the expiry of the oldest remaining activity. While another transaction purges it
-- returns no row. The lock ends with the transaction: a session's lock would stay behind in a pooler. The function
-- skips locked rows.
CREATE OR REPLACE FUNCTION purge(batch integer)
    RETURNS TABLE (activities integer, ended integer, idempotency_keys integer, oldest timestamptz)
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

    oldest := (
        SELECT expired.expires_at FROM public.activities AS expired
        WHERE expired.expires_at <= now() ORDER BY expired.expires_at LIMIT 1
    );
    RETURN NEXT;
END
$$;

REVOKE EXECUTE ON FUNCTION delete_mutes_and_blocks FROM PUBLIC;
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
