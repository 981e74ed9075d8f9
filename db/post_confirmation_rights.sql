-- What the Lambda may do in this database: make a person, and see whether there is one of that sub.
-- What it had before is taken back, so that it is this and nothing else.
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
