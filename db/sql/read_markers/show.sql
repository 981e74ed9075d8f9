-- Until when a user has read a feed.
SELECT read_markers.read_at
FROM read_markers
WHERE read_markers.user_uuid = %(user_uuid)s AND read_markers.feed = %(feed)s
