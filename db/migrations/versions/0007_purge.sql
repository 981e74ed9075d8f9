-- A DELETE request ends an activity and its descendants, and the purge deletes the rows. The service's role loses the
-- right to delete: an instance of the previous version answers a DELETE request with 500 until it is replaced.
ALTER TABLE activities
    DROP CONSTRAINT activities_expires_at_check,
    ADD CONSTRAINT activities_expires_at_check CHECK (expires_at >= created_at) NOT VALID;

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

-- Delete one batch: expired activities, the longest expired first and replies before their parents, and idempotency
-- keys older than 25 hours. A key is free again after 24 hours. A request that found its key in use then reads the
-- key's row: the 25th hour keeps the row for it. Before the deletion the function ends the threads of
-- unfinished_threads.
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
    until constant timestamptz := statement_timestamp() + interval '1 second';
    candidates uuid[];
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
    candidates := ARRAY(
        SELECT candidate.uuid
        FROM public.activities AS candidate
        WHERE candidate.expires_at <= now()
        ORDER BY candidate.expires_at, candidate.created_at DESC
        LIMIT batch
        FOR UPDATE SKIP LOCKED
    );
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

REVOKE DELETE ON activities FROM cruddur_service;
REVOKE EXECUTE ON FUNCTION expire_descendants, end_activity, purge FROM PUBLIC;
GRANT EXECUTE ON FUNCTION end_activity, purge TO cruddur_service;
