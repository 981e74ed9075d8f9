// Fastify and postgres.js in a cluster of two: statements prepared, JSON built by Postgres and handed on.
import cluster from "node:cluster";
import Fastify from "fastify";
import postgres from "postgres";

const PROCESSES = 2;
const FIRST = "9999-12-31T00:00:00Z,ffffffff-ffff-ffff-ffff-ffffffffffff";

// Described by PGHOST, PGUSER and the like. A connection takes the next statement before the last has answered.
const sql = cluster.isWorker && postgres({ max: 4, onnotice: () => {} });

const columns = () => sql`
  activities.uuid,
  users.display_name,
  users.handle,
  activities.message,
  activities.replies_count,
  activities.reposts_count,
  activities.likes_count,
  activities.reply_to_activity_uuid,
  activities.expires_at,
  activities.created_at`;

// As text, which the driver leaves as it is. The last row of a full page is where the next one begins.
const page = () => sql`
  COALESCE(json_agg(feed), '[]')::text AS json,
  (array_agg(feed.created_at))[20]::text AS created_at,
  (array_agg(feed.uuid))[20] AS uuid`;

const home = (createdAt, uuid) => sql`
  WITH feed AS (
    SELECT ${columns()}
    FROM live_activities AS activities
    JOIN users ON users.uuid = activities.user_uuid
    WHERE
      activities.reply_to_activity_uuid IS NULL
      AND (activities.created_at, activities.uuid) < (${createdAt}::text::timestamptz, ${uuid}::uuid)
    ORDER BY activities.created_at DESC, activities.uuid DESC
    LIMIT 20
  )
  SELECT ${page()} FROM feed`;

const user = (handle, createdAt, uuid) => sql`
  WITH profile AS (
    SELECT
      users.uuid,
      users.cognito_user_id AS cognito_user_uuid,
      users.handle,
      users.display_name,
      users.bio,
      (
        SELECT count(*) FROM (
          SELECT FROM live_activities
          WHERE live_activities.user_uuid = users.uuid AND live_activities.reply_to_activity_uuid IS NULL
          LIMIT 10000
        ) AS counted
      ) AS cruds_count,
      COALESCE(follow_counts.followers_count, 0) AS followers_count,
      COALESCE(follow_counts.following_count, 0) AS following_count
    FROM users
    LEFT JOIN follow_counts ON follow_counts.user_uuid = users.uuid
    WHERE lower(users.handle COLLATE "C") = lower(${handle}::text COLLATE "C")
  ),
  feed AS (
    SELECT ${columns()}
    FROM live_activities AS activities
    JOIN users ON users.uuid = activities.user_uuid
    WHERE
      activities.user_uuid = (SELECT profile.uuid FROM profile)
      AND activities.reply_to_activity_uuid IS NULL
      AND (activities.created_at, activities.uuid) < (${createdAt}::text::timestamptz, ${uuid}::uuid)
    ORDER BY activities.created_at DESC, activities.uuid DESC
    LIMIT 20
  ),
  page AS (SELECT ${page()} FROM feed)
  SELECT
    json_build_object('profile', profile, 'activities', page.json::json)::text AS json,
    page.created_at,
    page.uuid
  FROM profile CROSS JOIN page`;

const place = (request) => (request.query.cursor ?? FIRST).split(",");

const send = (reply, path, [row]) => {
  if (row === undefined) {
    return reply.code(404).send(["not_found"]);
  }
  if (row.uuid !== null) {
    reply.header("link", `<${path}?cursor=${encodeURIComponent(`${row.created_at},${row.uuid}`)}>; rel="next"`);
  }
  return reply.type("application/json").send(row.json);
};

const serve = async () => {
  const app = process.env.DRESS === "production" ? await (await import("./production.js")).dressed() : Fastify();
  app.get("/api/activities/home", async (request, reply) =>
    send(reply, "/api/activities/home", await home(...place(request))),
  );
  app.get("/api/activities/@:handle", async (request, reply) => {
    const { handle } = request.params;
    return send(reply, `/api/activities/@${handle}`, await user(handle, ...place(request)));
  });
  await app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
};

if (cluster.isPrimary) {
  for (let n = 0; n < PROCESSES; n += 1) {
    cluster.fork();
  }
} else {
  await serve();
}
