-- The columns of an activity in every response. This list, without its comment, replaces
-- {columns} in the statement of a read and {written_columns} in the statement of a write.
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
