-- The service of the previous revision continues to run: it neither reads nor writes the new tables.
--
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

REVOKE EXECUTE ON FUNCTION count_follows, delete_follows FROM PUBLIC;
GRANT
    SELECT (follower_uuid, followed_uuid, created_at),
    INSERT (follower_uuid, followed_uuid),
    DELETE
    ON follows TO cruddur_service;
-- The trigger count_follows needs the rights to write.
GRANT
    SELECT (user_uuid, followers_count, following_count),
    INSERT (user_uuid, followers_count, following_count),
    UPDATE (followers_count, following_count)
    ON follow_counts TO cruddur_service;
