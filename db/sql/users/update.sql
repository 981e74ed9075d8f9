-- Update a user's display name and bio. Without a bio in the request the bio stays unchanged.
UPDATE users
SET
    display_name = %(display_name)s,
    bio = CASE WHEN %(has_bio)s THEN %(bio)s ELSE users.bio END
WHERE users.uuid = %(user_uuid)s
RETURNING users.uuid, users.handle, users.display_name
