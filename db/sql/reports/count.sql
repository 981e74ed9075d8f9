-- The number of the reporter's reports within 24 hours.
SELECT count(*)
FROM reports
WHERE reports.reporter_uuid = %(reporter_uuid)s AND reports.created_at > now() - interval '24 hours'
