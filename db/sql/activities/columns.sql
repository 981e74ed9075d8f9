-- The columns of an activity in every answer. This list, without its comment, takes the place of
-- {columns} in the statement of a read and of {written_columns} in that of a write.
    {activity}.uuid,
    {display_name},
    {handle},
    {activity}.message,
    {activity}.replies_count,
    {activity}.reposts_count,
    {activity}.likes_count,
    {activity}.reply_to_activity_uuid,
    {activity}.expires_at,
    {activity}.created_at
