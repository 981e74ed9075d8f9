-- Activities get a column for the text that a search compares. The service writes it. Where it is null, a form of the
-- message that Postgres computes replaces it: in rows of the previous version, which goes on as before, and of COPY.
ALTER TABLE activities ADD COLUMN IF NOT EXISTS search_text text;

CREATE OR REPLACE VIEW live_activities WITH (security_invoker = true) AS
SELECT
    uuid,
    user_uuid,
    message,
    replies_count,
    reposts_count,
    likes_count,
    reply_to_activity_uuid,
    reply_to_user_uuid,
    mentions,
    expires_at,
    created_at,
    COALESCE(search_text, lower(normalize(message, NFKC))) AS search_text
FROM activities
WHERE COALESCE(expires_at, 'infinity') > now();

GRANT SELECT (search_text), INSERT (search_text) ON activities TO cruddur_service;

-- Every text must have a character besides controls and spaces, and a name must have no control. This revision checks
-- new rows; the next revision checks existing rows.
ALTER TABLE users
    DROP CONSTRAINT users_display_name_check,
    ADD CONSTRAINT users_display_name_check
        CHECK (
            char_length(display_name) <= 50
            AND display_name ~ '[^\u0001-\u0020\u007f-\u00a0]'
            AND display_name !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]'
        ) NOT VALID;

ALTER TABLE activities
    DROP CONSTRAINT activities_message_check,
    ADD CONSTRAINT activities_message_check CHECK (
        char_length(message) <= CASE WHEN reply_to_activity_uuid IS NULL THEN 280 ELSE 1024 END
        AND message ~ '[^\u0001-\u0020\u007f-\u00a0]'
    ) NOT VALID;

ALTER TABLE messages
    DROP CONSTRAINT messages_message_check,
    ADD CONSTRAINT messages_message_check
        CHECK (char_length(message) <= 1024 AND message ~ '[^\u0001-\u0020\u007f-\u00a0]') NOT VALID;
