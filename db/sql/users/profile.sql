-- A person as everyone may see them.
SELECT
    users.uuid,
    users.cognito_user_id AS cognito_user_uuid,
    users.handle,
    users.display_name,
    users.bio,
    (
        SELECT count(*) FROM live_activities
        WHERE live_activities.user_uuid = users.uuid AND live_activities.reply_to_activity_uuid IS NULL
    ) AS cruds_count
FROM users
WHERE lower(users.handle COLLATE "C") = lower(%(handle)s COLLATE "C")
