-- A further column of an activity for an authenticated reader: {column}, whether {table} has a row of the activity and
-- the reader. `reader` is the claim `sub` of the token, so that the statement finds the reader without another query.
-- For a reader without a row in `users` the column is false.
--
-- The two comparisons are an equality that only the primary key serves. For EXISTS, or for a plain equality, the planner
-- may also choose to read all rows of the reader. Without the upper bound a probe reads the rest of an index page.
    COALESCE((
        SELECT true
        FROM {table}
        WHERE
            ({table}.activity_uuid, {table}.user_uuid) >= (live_activities.uuid, {users/current})
            AND ({table}.activity_uuid, {table}.user_uuid) <= (live_activities.uuid, {users/current})
        ORDER BY {table}.activity_uuid, {table}.user_uuid
        LIMIT 1
    ), false) AS {column}
