-- The role of the Lambda that makes a new person's row, which belongs to the server and not to a
-- database. Its rights are in post_confirmation_rights.sql.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cruddur_post_confirmation') THEN
        CREATE ROLE cruddur_post_confirmation LOGIN NOINHERIT;
    END IF;
END
$$;

-- Together with the time that it takes to connect they stay below the Lambda's own limit.
ALTER ROLE cruddur_post_confirmation SET timezone TO 'UTC';
ALTER ROLE cruddur_post_confirmation SET statement_timeout TO '1500ms';
ALTER ROLE cruddur_post_confirmation SET lock_timeout TO '1s';
ALTER ROLE cruddur_post_confirmation SET idle_in_transaction_session_timeout TO '2s';
