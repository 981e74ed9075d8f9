-- Report a live activity, with copies of it and of its parent as evidence: both will expire. Without the activity the
-- statement returns no row.
WITH copies AS NOT MATERIALIZED (
    SELECT
        {columns},
        users.uuid AS author_uuid,
        jsonb_build_object(
            'uuid', users.uuid, 'handle', users.handle, 'display_name', users.display_name, 'bio', users.bio
        ) AS author
    FROM live_activities
    JOIN users ON users.uuid = live_activities.user_uuid
)
INSERT INTO reports (uuid, reporter_uuid, reported_uuid, activity_uuid, category, comment, evidence)
SELECT
    %(uuid)s,
    %(reporter_uuid)s,
    activity.author_uuid,
    activity.uuid,
    %(category)s,
    %(comment)s,
    jsonb_build_object(
        'activity', to_jsonb(activity) - ARRAY['author_uuid', 'handle', 'display_name'],
        'parent', to_jsonb(parent) - ARRAY['author_uuid', 'handle', 'display_name']
    )
FROM copies AS activity
LEFT JOIN copies AS parent ON parent.uuid = activity.reply_to_activity_uuid
WHERE activity.uuid = %(activity_uuid)s
RETURNING reports.uuid
