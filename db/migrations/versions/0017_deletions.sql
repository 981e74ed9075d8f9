-- The service of the previous revision continues to run: it deletes no user, and reads by the new view. It calls the new
-- function `purge` by the same name.

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
        LIMIT 100
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

-- The view live_activities and the ledger (backend-flask/lib/ledger.py) need these. Only functions read and write the
-- others.
GRANT
    SELECT (sub_hash, user_uuid, outcome, requested_at, confirmed_at, finished_at, expires_at, in_ledger),
    UPDATE (in_ledger)
    ON deletions TO cruddur_service;
-- For the current user's account.
GRANT SELECT (created_at) ON users TO cruddur_service;
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
GRANT EXECUTE ON FUNCTION admit, request_deletion, refuse_deletion, confirm_deletion TO cruddur_service;
