-- The columns of `users` and `activities`: whether the relation is a table, and of each column the type, whether it is NOT
-- NULL, and whether it alone is the primary key.
SELECT
    pg_class.relname,
    pg_class.relkind = 'r' AS is_table,
    pg_attribute.attname,
    format_type(pg_attribute.atttypid, pg_attribute.atttypmod),
    pg_attribute.attnotnull,
    EXISTS (
        SELECT FROM pg_index
        WHERE
            pg_index.indrelid = pg_class.oid
            AND pg_index.indisprimary
            AND pg_index.indkey::text = pg_attribute.attnum::text
    )
FROM pg_class
JOIN pg_attribute ON pg_attribute.attrelid = pg_class.oid
WHERE
    pg_class.relnamespace = 'public'::regnamespace
    AND pg_class.relname IN ('users', 'activities')
    AND pg_attribute.attnum > 0
    AND NOT pg_attribute.attisdropped
ORDER BY pg_class.relname, pg_attribute.attname
