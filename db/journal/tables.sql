-- The columns of the tables `users` and `activities`: the kind of each relation, and of each column its type, and whether
-- NOT NULL and a primary key of this column alone hold.
SELECT
    pg_class.relname,
    pg_class.relkind = 'r' AND NOT pg_class.relispartition AND pg_class.reltype <> 0 AS is_table,
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
