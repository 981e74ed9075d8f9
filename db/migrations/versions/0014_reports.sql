-- The service of the previous revision continues to run: it neither reads nor writes the new table, and its purge deletes
-- expired reports too.
--
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

-- Delete one batch: expired activities, the longest expired first and replies before their parents, expired reports, and
-- idempotency keys older than 25 hours. A key is free again after 24 hours. A request that found its key in use then
-- reads the key's row: the 25th hour keeps the row for it. Before the deletion the function ends the threads of
-- unfinished_threads.
--
-- The cascade deletes at most `most_reactions` likes and reposts in a batch, which has fewer activities then. Of a more
-- popular activity each batch deletes that many, likes first, until the rest is few enough. They count as `ended`, as
-- deleted reports do, so that the caller goes on.
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

    oldest := (
        SELECT expired.expires_at FROM public.activities AS expired
        WHERE expired.expires_at <= now() ORDER BY expired.expires_at LIMIT 1
    );
    RETURN NEXT;
END
$$;

-- SELECT leaves out `comment` and `evidence`, because only operators read them.
GRANT
    SELECT (uuid, reporter_uuid, reported_uuid, activity_uuid, category, created_at, expires_at),
    INSERT (uuid, reporter_uuid, reported_uuid, activity_uuid, category, comment, evidence)
    ON reports TO cruddur_service;
