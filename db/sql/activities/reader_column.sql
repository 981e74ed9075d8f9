-- A further column of an activity for an authenticated reader: {column}, whether {table} has a row of the activity and
-- the reader. `reader` is the claim `sub` of the token, so that the statement finds the reader without another query.
-- For a reader without a row in `users` the column is false.
--
-- The probe takes the first row from (activity, reader) on, in the primary key's order, because only the primary key
-- serves that. For EXISTS, or for an equality, the planner may also choose to read all rows of the reader.
    COALESCE((
        SELECT {table}.activity_uuid = live_activities.uuid AND {table}.user_uuid = {users/current}
        FROM {table}
        WHERE
            ({table}.activity_uuid, {table}.user_uuid) >= (live_activities.uuid, {users/current})
        ORDER BY {table}.activity_uuid, {table}.user_uuid
        LIMIT 1
    ), false) AS {column}
