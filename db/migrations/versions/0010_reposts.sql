-- The service of the previous revision continues to run: it neither reads nor writes the new table.
--
-- Reposts of activities. A repost is no activity: it has no text and no expiry, and ends with the original, as a like
-- does.
CREATE TABLE IF NOT EXISTS reposts (
    activity_uuid uuid NOT NULL
        CONSTRAINT reposts_activity_uuid_fkey REFERENCES activities (uuid) ON DELETE CASCADE,
    user_uuid uuid NOT NULL
        CONSTRAINT reposts_user_uuid_fkey REFERENCES users (uuid) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT reposts_pkey PRIMARY KEY (activity_uuid, user_uuid)
);

-- The users who reposted an activity, newest repost first.
CREATE INDEX IF NOT EXISTS reposts_activity_idx ON reposts (activity_uuid, created_at DESC, user_uuid DESC);

-- The activities that a user reposted, newest repost first.
CREATE INDEX IF NOT EXISTS reposts_user_idx ON reposts (user_uuid, created_at DESC, activity_uuid DESC);

-- The triggers of `likes` continue to call this function. Only its name and its body change: a statement for the triggers would
-- lock the table, and could deadlock with a like or with the purge.
ALTER FUNCTION count_likes() RENAME TO count_reactions;

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
    ORDER BY activities.uuid
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

CREATE OR REPLACE TRIGGER reposts_added
    AFTER INSERT ON reposts
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_reactions();

CREATE OR REPLACE TRIGGER reposts_removed
    AFTER DELETE ON reposts
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_reactions();

-- Delete one batch: expired activities, the longest expired first and replies before their parents, and idempotency
-- keys older than 25 hours. A key is free again after 24 hours. A request that found its key in use then reads the
-- key's row: the 25th hour keeps the row for it. Before the deletion the function ends the threads of
-- unfinished_threads.
--
-- The cascade deletes at most `most_reactions` likes and reposts in a batch, which has fewer activities then. Of a more
-- popular activity each batch deletes that many, likes first, until the rest is few enough. They count as `ended`, so
-- that the caller goes on.
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

    oldest := (
        SELECT expired.expires_at FROM public.activities AS expired
        WHERE expired.expires_at <= now() ORDER BY expired.expires_at LIMIT 1
    );
    RETURN NEXT;
END
$$;

GRANT
    SELECT (activity_uuid, user_uuid, created_at),
    INSERT (activity_uuid, user_uuid),
    DELETE
    ON reposts TO cruddur_service;
-- The trigger needs this right.
GRANT UPDATE (reposts_count) ON activities TO cruddur_service;
