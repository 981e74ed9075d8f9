-- The rights of the Lambda's role in this database: insert a user, and look up a sub.
-- The file first revokes all rights, so that the role has these and no others.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM cruddur_post_confirmation;
REVOKE ALL ON SCHEMA public FROM cruddur_post_confirmation;
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM cruddur_post_confirmation', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO cruddur_post_confirmation', current_database());
END
$$;

GRANT USAGE ON SCHEMA public TO cruddur_post_confirmation;
GRANT INSERT (handle, display_name, email, cognito_user_id), SELECT (cognito_user_id)
    ON users TO cruddur_post_confirmation;
