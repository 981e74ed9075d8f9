-- The service's role. It belongs to the server and not to a database. db/schema.sql grants
-- its rights on rows, and the role has no others.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cruddur_service') THEN
        CREATE ROLE cruddur_service LOGIN NOINHERIT;
    END IF;
END
$$;

-- The role has these settings, because a pooler refuses them in the connection string,
-- and a SET through a pooler may reach another client's session.
ALTER ROLE cruddur_service SET timezone TO 'UTC';
-- Shorter than the service's deadline of 2 s: the service would take a slow statement for a lost connection.
ALTER ROLE cruddur_service SET statement_timeout TO '1800ms';
ALTER ROLE cruddur_service SET lock_timeout TO '1s';
ALTER ROLE cruddur_service SET idle_in_transaction_session_timeout TO '5s';
