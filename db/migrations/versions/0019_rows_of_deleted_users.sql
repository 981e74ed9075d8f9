-- The service of the previous revision continues to run: it calls the new function by the same name.

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
