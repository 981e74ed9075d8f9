-- The role of the Lambda that creates a new user's row. It belongs to the server and not to a database.
-- post_confirmation_rights.sql has its rights.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cruddur_post_confirmation') THEN
        CREATE ROLE cruddur_post_confirmation LOGIN NOINHERIT;
    END IF;
END
$$;

-- These timeouts and the time for connecting stay below the Lambda's own limit.
ALTER ROLE cruddur_post_confirmation SET timezone TO 'UTC';
ALTER ROLE cruddur_post_confirmation SET statement_timeout TO '1500ms';
ALTER ROLE cruddur_post_confirmation SET lock_timeout TO '1s';
ALTER ROLE cruddur_post_confirmation SET idle_in_transaction_session_timeout TO '2s';
