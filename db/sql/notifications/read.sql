-- Move the marker of a user's notifications forward, and never into the future.
INSERT INTO read_markers (user_uuid, feed, read_at)
VALUES (%(user_uuid)s, 'notifications', LEAST(%(until)s, now()))
ON CONFLICT (user_uuid, feed) DO UPDATE SET read_at = GREATEST(read_markers.read_at, EXCLUDED.read_at)
RETURNING read_markers.read_at AS until
