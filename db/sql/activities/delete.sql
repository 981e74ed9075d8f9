-- End a live activity of the user, and all replies below it.
SELECT ended.uuid
FROM end_activity(%(activity_uuid)s, %(user_uuid)s) AS ended (uuid)
WHERE ended.uuid IS NOT NULL
