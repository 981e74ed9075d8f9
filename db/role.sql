-- The role that the service logs in as, which belongs to the server and not to a
-- database. It gets its rights on rows from db/schema.sql, and has no others.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cruddur_service') THEN
        CREATE ROLE cruddur_service LOGIN NOINHERIT;
    END IF;
END
$$;

-- On the role, because a pooler between us and the server refuses them in the
-- connection string and mixes them up when they are SET.
ALTER ROLE cruddur_service SET timezone TO 'UTC';
-- Before the service's own deadline of 2 s: it would take a slow statement for a lost connection.
ALTER ROLE cruddur_service SET statement_timeout TO '1800ms';
ALTER ROLE cruddur_service SET lock_timeout TO '1s';
ALTER ROLE cruddur_service SET idle_in_transaction_session_timeout TO '5s';
