-- Figures of the journal's activities.
SELECT
    count(*) AS activities,
    COALESCE(sum(old_activities.likes_count), 0) AS likes,
    COALESCE(sum(old_activities.reposts_count), 0) AS reposts
FROM journal.old_activities
