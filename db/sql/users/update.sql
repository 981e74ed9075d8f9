-- Update a user's display name and bio. Without a bio in the request the bio stays unchanged. The statement returns no
-- row when the user was deleted meanwhile: the row may stay for the other members of conversations, without names.
UPDATE users
SET
    display_name = %(display_name)s,
    bio = CASE WHEN %(has_bio)s THEN %(bio)s ELSE users.bio END
WHERE users.uuid = %(user_uuid)s AND users.cognito_user_id IS NOT NULL
RETURNING users.uuid, users.handle, users.display_name
