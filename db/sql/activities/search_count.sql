-- Count the activities, expired ones too, that hold a word, up to a limit.
--
-- The sub-select hides the word from the planner, which then always uses the trigram index. MATERIALIZED makes the
-- planner plan for all matches. Postgres still reads no more matches than the limit.
WITH matches AS MATERIALIZED (
    SELECT activities.uuid
    FROM activities
    WHERE COALESCE(activities.search_text, lower(normalize(activities.message, NFKC))) LIKE (SELECT %(longest)s::text)
)
SELECT count(*) AS matches_count
FROM (SELECT matches.uuid FROM matches LIMIT %(limit)s) AS counted
