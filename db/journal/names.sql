-- The names in the schema public besides the two tables and their indexes: of tables (true), and of other relations and
-- of functions (false). Objects of extensions are left out.
SELECT named.name, named.is_table
FROM (
    SELECT pg_class.oid, 'pg_class'::regclass AS class, pg_class.relname AS name, pg_class.relkind IN ('r', 'p') AS is_table
    FROM pg_class
    LEFT JOIN pg_index ON pg_index.indexrelid = pg_class.oid
    WHERE
        pg_class.relnamespace = 'public'::regnamespace
        AND COALESCE(pg_index.indrelid, pg_class.oid) NOT IN ('public.users'::regclass, 'public.activities'::regclass)
    UNION ALL
    SELECT pg_proc.oid, 'pg_proc'::regclass, pg_proc.proname, false
    FROM pg_proc
    WHERE pg_proc.pronamespace = 'public'::regnamespace
) AS named
WHERE
    NOT EXISTS (
        SELECT FROM pg_depend
        WHERE pg_depend.objid = named.oid AND pg_depend.classid = named.class AND pg_depend.deptype = 'e'
    )
ORDER BY named.name
