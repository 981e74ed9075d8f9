-- How many activities, expired ones too, hold a word, counted to a limit.
--
-- Not told the word, the planner always takes the trigram index. Materialized, it plans for all matches,
-- and Postgres reads no more than the limit asks for.
WITH matches AS MATERIALIZED (
    SELECT activities.uuid
    FROM activities
    WHERE COALESCE(activities.search_text, lower(normalize(activities.message, NFKC))) LIKE (SELECT %(longest)s::text)
)
SELECT count(*) AS matches_count
FROM (SELECT matches.uuid FROM matches LIMIT %(limit)s) AS counted
