-- The server's client connections.
SELECT
    pid AS process,
    usename AS "user",
    datname AS database,
    client_addr AS address,
    application_name AS application,
    state
FROM pg_stat_activity
WHERE backend_type = 'client backend'
ORDER BY datname, application_name, pid
