-- A condition of a feed: the reader has not muted the user {user}, and neither of the two blocks the other. `reader` is
-- the claim `sub` of the token. In the feeds of an anonymous client the condition is true.
--
-- The sub-select reads one pair for each row of the feed. For NOT EXISTS the planner may also choose to read all users who
-- block the reader.
    (
        SELECT true
        FROM hidden_users
        WHERE
            hidden_users.reader_uuid = {users/current}
            AND hidden_users.user_uuid = {user}
        LIMIT 1
    ) IS NULL
