-- The service's role gets rights on the columns that its statements use, and no more. The rights suffice for the
-- previous version too. REVOKE and GRANT neither wait for reads and writes nor block them.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM cruddur_service;
REVOKE ALL ON SCHEMA public FROM cruddur_service;
-- In a database of Postgres 14 or older every role may create tables in this schema.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO cruddur_service;
GRANT
    -- SELECT leaves out `email`, because no response holds it.
    SELECT (uuid, handle, display_name, bio, cognito_user_id),
    INSERT (handle, display_name, email, cognito_user_id),
    UPDATE (display_name, bio)
    ON users TO cruddur_service;
GRANT
    SELECT (
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
        created_at
    ),
    INSERT (uuid, user_uuid, message, mentions, reply_to_activity_uuid, reply_to_user_uuid, expires_at),
    -- The trigger count_reply needs this right. It also allows locking a row.
    UPDATE (replies_count),
    DELETE
    ON activities TO cruddur_service;
GRANT SELECT ON live_activities TO cruddur_service;
GRANT
    SELECT (uuid, lesser_user_uuid, greater_user_uuid, last_message_at),
    INSERT (uuid, lesser_user_uuid, greater_user_uuid),
    -- ON CONFLICT DO UPDATE of an existing pair needs `uuid`. A check allows no other value.
    UPDATE (uuid, last_message_at)
    ON message_groups TO cruddur_service;
GRANT
    SELECT (uuid, message_group_uuid, user_uuid, message, created_at),
    INSERT (uuid, message_group_uuid, user_uuid, message)
    ON messages TO cruddur_service;
GRANT
    SELECT (user_uuid, key, fingerprint, made, created_at),
    INSERT (user_uuid, key, fingerprint, made),
    UPDATE (fingerprint, made, created_at)
    ON idempotency_keys TO cruddur_service;
-- By default every role may call a function. Postgres does not check EXECUTE when a trigger fires.
REVOKE EXECUTE ON FUNCTION count_reply, note_last_message, message_group_uuid FROM PUBLIC;
GRANT EXECUTE ON FUNCTION message_group_uuid TO cruddur_service;
GRANT SELECT (version_num) ON alembic_version TO cruddur_service;
