-- Change what a person says of themselves. A bio that is left out stays as it was.
UPDATE users
SET
    display_name = %(display_name)s,
    bio = CASE WHEN %(has_bio)s THEN %(bio)s ELSE users.bio END
WHERE users.uuid = %(user_uuid)s
RETURNING users.uuid, users.handle, users.display_name
