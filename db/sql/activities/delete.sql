-- End a live activity of one's own, and with it its replies.
SELECT ended.uuid
FROM end_activity(%(activity_uuid)s, %(user_uuid)s) AS ended (uuid)
WHERE ended.uuid IS NOT NULL
