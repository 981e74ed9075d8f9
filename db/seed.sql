-- Sample users, activities and conversations: a feed that shows each state. Every row has a fixed
-- uuid, so that loading the file again creates no duplicate. Loading it again renews the activities'
-- times, because seeded activities expire too. Deleted users stay deleted: all rows below need theirs.

INSERT INTO users (uuid, display_name, handle, cognito_user_id, email, bio)
VALUES
    ('5eed0000-0000-4000-8000-000000000001', 'Andrew Brown', 'andrewbrown',
     '5eed0000-0000-4000-9000-000000000001', 'andrew.brown@example.com', 'Cloud, and what comes down from it.'),
    ('5eed0000-0000-4000-8000-000000000002', 'Andrew Bayko', 'bayko',
     '5eed0000-0000-4000-9000-000000000002', 'andrew.bayko@example.com', 'The other Andrew.'),
    ('5eed0000-0000-4000-8000-000000000003', 'Giulia Ferri', 'giulia_ferri',
     '5eed0000-0000-4000-9000-000000000003', 'giulia.ferri@example.com', 'Caffè, databases, in this order.'),
    ('5eed0000-0000-4000-8000-000000000004', 'Kofi Mensah', 'kofi',
     '5eed0000-0000-4000-9000-000000000004', 'kofi.mensah@example.com', NULL),
    ('5eed0000-0000-4000-8000-000000000005', 'Lin Yue', 'LinYue',
     '5eed0000-0000-4000-9000-000000000005', 'lin.yue@example.com', 'On call until Sunday.')
-- A seeded user may exist, or have deleted the account and another user have taken the handle.
ON CONFLICT DO NOTHING;

INSERT INTO activities (uuid, user_uuid, message, mentions, tags, created_at, expires_at)
SELECT
    seed.uuid::uuid,
    users.uuid,
    seed.message,
    COALESCE((SELECT array_agg(mentioned.uuid) FROM users AS mentioned WHERE mentioned.handle = seed.mention), '{}'),
    ARRAY(SELECT DISTINCT lower(found.tag[1]) FROM regexp_matches(seed.message, '#(\w+)', 'g') AS found (tag)),
    now() - seed.age::interval,
    now() - seed.age::interval + seed.ttl::interval
FROM (
    VALUES
    -- fresh
    ('5eed0000-0000-4000-a000-000000000001', 'andrewbrown', 'This was imported as seed data!', NULL, '0 s', '10 days'),
    ('5eed0000-0000-4000-a000-000000000002', 'LinYue', 'The migration is through. Nobody noticed, as it should be.', NULL, '4 minutes', '7 days'),
    -- with replies
    ('5eed0000-0000-4000-a000-000000000003', 'giulia_ferri', 'What does everyone use to look at query plans? @kofi surely knows.', 'kofi', '50 minutes', '3 days'),
    -- for the notifications of andrewbrown
    ('5eed0000-0000-4000-a000-000000000009', 'LinYue', 'Ask @andrewbrown what a feed without a past is like.', 'andrewbrown', '30 minutes', '7 days'),
    -- with hashtags, one of them a trend
    ('5eed0000-0000-4000-a000-00000000000a', 'giulia_ferri', '#Databases before noon, #coffee before #databases.', NULL, '2 hours', '3 days'),
    ('5eed0000-0000-4000-a000-00000000000b', 'kofi', 'Today: VACUUM, then lunch. #databases', NULL, '6 hours', '1 day'),
    -- hours old
    ('5eed0000-0000-4000-a000-000000000004', 'bayko', 'Cloud is fun, until the bill is read aloud.', NULL, '5 hours', '12 hours'),
    ('5eed0000-0000-4000-a000-000000000005', 'kofi', 'An index that nobody reads is a diary.', NULL, '20 hours', '3 days'),
    -- about to expire
    ('5eed0000-0000-4000-a000-000000000006', 'giulia_ferri', 'Last slice of cake in the kitchen, first come first served.', NULL, '55 minutes', '1 hour'),
    -- without expiry
    ('5eed0000-0000-4000-a000-000000000007', 'andrewbrown', 'Everything here disappears. Not this one.', NULL, '9 days', NULL),
    -- expired: in the table, and in no response
    ('5eed0000-0000-4000-a000-000000000008', 'bayko', 'Lunch in five minutes, who comes along?', NULL, '3 hours', '1 hour')
) AS seed (uuid, handle, message, mention, age, ttl)
JOIN users ON users.handle = seed.handle
ON CONFLICT (uuid) DO UPDATE SET created_at = EXCLUDED.created_at, expires_at = EXCLUDED.expires_at;

-- A reply expires together with its parent.
INSERT INTO activities (
    uuid, user_uuid, message, reply_to_activity_uuid, reply_to_user_uuid, created_at, expires_at
)
SELECT
    seed.uuid::uuid,
    users.uuid,
    seed.message,
    parent.uuid,
    parent.user_uuid,
    now() - seed.age::interval,
    parent.expires_at
FROM (
    VALUES
    ('5eed0000-0000-4000-b000-000000000001', 'kofi', '5eed0000-0000-4000-a000-000000000003', 'EXPLAIN (ANALYZE, BUFFERS) and a quiet room.', '41 minutes'),
    ('5eed0000-0000-4000-b000-000000000002', 'bayko', '5eed0000-0000-4000-a000-000000000003', 'I ask Kofi.', '38 minutes'),
    ('5eed0000-0000-4000-b000-000000000003', 'LinYue', '5eed0000-0000-4000-a000-000000000004', 'You read yours?', '2 hours'),
    -- without expiry, as its parent: the notifications of andrewbrown are never empty
    ('5eed0000-0000-4000-b000-000000000004', 'bayko', '5eed0000-0000-4000-a000-000000000007', 'Nor this reply.', '20 minutes')
) AS seed (uuid, handle, parent_uuid, message, age)
JOIN users ON users.handle = seed.handle
JOIN activities AS parent ON parent.uuid = seed.parent_uuid::uuid
ON CONFLICT (uuid) DO UPDATE SET created_at = EXCLUDED.created_at, expires_at = EXCLUDED.expires_at;

-- The trigger stores the mentions of new activities only. These may have existed, with other times.
INSERT INTO mentionings (activity_uuid, user_uuid, expires_at, created_at)
SELECT activities.uuid, users.uuid, activities.expires_at, activities.created_at
FROM activities
JOIN users ON users.uuid = ANY (activities.mentions)
WHERE activities.uuid::text LIKE '5eed0000-%'
ON CONFLICT (activity_uuid, user_uuid) DO UPDATE
SET expires_at = EXCLUDED.expires_at, created_at = EXCLUDED.created_at;

-- Some of these replies may have existed and been counted before; others had been purged. A reply of a deleted user
-- counts until the purge ends it.
UPDATE activities SET replies_count = counted.replies_count
FROM (
    SELECT parent.uuid, count(reply.uuid) AS replies_count
    FROM activities AS parent
    LEFT JOIN activities AS reply
        ON reply.reply_to_activity_uuid = parent.uuid AND COALESCE(reply.expires_at, 'infinity') > now()
    WHERE parent.uuid::text LIKE '5eed0000-%'
    GROUP BY parent.uuid
) AS counted
WHERE activities.uuid = counted.uuid AND activities.replies_count <> counted.replies_count;

-- The trigger stores new hashtags only.
INSERT INTO taggings (activity_uuid, tag, user_uuid, expires_at, created_at)
SELECT activities.uuid, added.tag, activities.user_uuid, activities.expires_at, activities.created_at
FROM activities
CROSS JOIN unnest(activities.tags) AS added (tag)
WHERE activities.uuid::text LIKE '5eed0000-%'
ON CONFLICT (activity_uuid, tag) DO UPDATE SET expires_at = EXCLUDED.expires_at, created_at = EXCLUDED.created_at;

-- Likes, also of andrewbrown's activities and by andrewbrown. The trigger counts new ones only.
INSERT INTO likes (activity_uuid, user_uuid, created_at)
SELECT activities.uuid, users.uuid, now() - seed.age::interval
FROM (
    VALUES
    ('5eed0000-0000-4000-a000-000000000002', 'andrewbrown', '3 minutes'),
    ('5eed0000-0000-4000-a000-000000000002', 'giulia_ferri', '2 minutes'),
    ('5eed0000-0000-4000-a000-000000000003', 'kofi', '45 minutes'),
    ('5eed0000-0000-4000-a000-000000000004', 'andrewbrown', '1 hour'),
    ('5eed0000-0000-4000-a000-000000000004', 'kofi', '3 hours'),
    ('5eed0000-0000-4000-a000-000000000004', 'LinYue', '4 hours'),
    ('5eed0000-0000-4000-a000-000000000007', 'bayko', '8 days'),
    ('5eed0000-0000-4000-b000-000000000001', 'giulia_ferri', '40 minutes')
) AS seed (activity_uuid, handle, age)
JOIN activities ON activities.uuid = seed.activity_uuid::uuid
JOIN users ON users.handle = seed.handle
ON CONFLICT (activity_uuid, user_uuid) DO UPDATE SET created_at = EXCLUDED.created_at;

-- Reposts, also of andrewbrown's activity, by andrewbrown, and of a reply. The trigger counts new ones only.
INSERT INTO reposts (activity_uuid, user_uuid, created_at)
SELECT activities.uuid, users.uuid, now() - seed.age::interval
FROM (
    VALUES
    ('5eed0000-0000-4000-a000-000000000002', 'andrewbrown', '2 minutes'),
    ('5eed0000-0000-4000-a000-000000000004', 'andrewbrown', '1 hour'),
    ('5eed0000-0000-4000-a000-000000000004', 'LinYue', '2 hours'),
    ('5eed0000-0000-4000-a000-000000000007', 'bayko', '8 days'),
    ('5eed0000-0000-4000-b000-000000000001', 'giulia_ferri', '35 minutes')
) AS seed (activity_uuid, handle, age)
JOIN activities ON activities.uuid = seed.activity_uuid::uuid
JOIN users ON users.handle = seed.handle
ON CONFLICT (activity_uuid, user_uuid) DO UPDATE SET created_at = EXCLUDED.created_at;

-- Follows: andrewbrown follows some and is followed by others. The trigger counts new ones only.
INSERT INTO follows (follower_uuid, followed_uuid, created_at)
SELECT follower.uuid, followed.uuid, now() - seed.age::interval
FROM (
    VALUES
    ('andrewbrown', 'bayko', '9 days'),
    ('andrewbrown', 'giulia_ferri', '6 days'),
    ('bayko', 'andrewbrown', '9 days'),
    ('giulia_ferri', 'andrewbrown', '5 days'),
    ('giulia_ferri', 'kofi', '4 days'),
    ('kofi', 'giulia_ferri', '4 days'),
    ('kofi', 'LinYue', '3 days'),
    ('LinYue', 'andrewbrown', '2 days')
) AS seed (follower, followed, age)
JOIN users AS follower ON follower.handle = seed.follower
JOIN users AS followed ON followed.handle = seed.followed
ON CONFLICT (follower_uuid, followed_uuid) DO UPDATE SET created_at = EXCLUDED.created_at;

-- An open report, for bin/db-reports. Loading the file again changes no report.
INSERT INTO reports (uuid, reporter_uuid, reported_uuid, activity_uuid, category, comment, evidence)
SELECT
    '5eed0000-0000-4000-d000-000000000001',
    reporter.uuid,
    author.uuid,
    activities.uuid,
    'spam',
    'There is no cake. I went and looked.',
    jsonb_build_object(
        'activity', jsonb_build_object(
            'uuid', activities.uuid,
            'message', activities.message,
            'replies_count', activities.replies_count,
            'reposts_count', activities.reposts_count,
            'likes_count', activities.likes_count,
            'reply_to_activity_uuid', activities.reply_to_activity_uuid,
            'expires_at', activities.expires_at,
            'created_at', activities.created_at,
            'author', jsonb_build_object(
                'uuid', author.uuid, 'handle', author.handle, 'display_name', author.display_name, 'bio', author.bio
            )
        ),
        'parent', NULL
    )
FROM activities
JOIN users AS author ON author.uuid = activities.user_uuid
JOIN users AS reporter ON reporter.handle = 'kofi'
WHERE activities.uuid = '5eed0000-0000-4000-a000-000000000006'
ON CONFLICT (uuid) DO NOTHING;

-- A mute and a block. Neither is about andrewbrown, whose feeds show everything.
INSERT INTO mutes (muter_uuid, muted_uuid, expires_at)
SELECT muter.uuid, muted.uuid, now() + interval '7 days'
FROM users AS muter
JOIN users AS muted ON (muter.handle, muted.handle) = ('kofi', 'bayko')
ON CONFLICT (muter_uuid, muted_uuid) DO UPDATE SET expires_at = EXCLUDED.expires_at;

INSERT INTO blocks (blocker_uuid, blocked_uuid)
SELECT blocker.uuid, blocked.uuid
FROM users AS blocker
JOIN users AS blocked ON (blocker.handle, blocked.handle) = ('LinYue', 'giulia_ferri')
ON CONFLICT (blocker_uuid, blocked_uuid) DO NOTHING;

-- Direct messages. Loading the file again changes no time of those that stay.
INSERT INTO message_groups (uuid, lesser_user_uuid, greater_user_uuid)
SELECT message_group_uuid(one.uuid, other.uuid), LEAST(one.uuid, other.uuid), GREATEST(one.uuid, other.uuid)
FROM users AS one
JOIN users AS other ON (one.handle, other.handle) IN (('andrewbrown', 'bayko'), ('LinYue', 'andrewbrown'))
ON CONFLICT (uuid) DO NOTHING;

-- A message that ends. The trigger stores only new rows in last_messages.
DELETE FROM messages WHERE uuid = '5eed0000-0000-4000-c000-000000000005';

INSERT INTO messages (uuid, message_group_uuid, user_uuid, message, created_at, expires_at)
SELECT
    '5eed0000-0000-4000-c000-000000000005',
    message_group_uuid(sender.uuid, receiver.uuid),
    sender.uuid,
    'Not this one: it is gone in an hour.',
    now() - interval '5 minutes',
    now() + interval '55 minutes'
FROM users AS sender
JOIN users AS receiver ON (sender.handle, receiver.handle) = ('bayko', 'andrewbrown');

INSERT INTO messages (uuid, message_group_uuid, user_uuid, message, created_at)
SELECT
    seed.uuid::uuid,
    message_group_uuid(sender.uuid, receiver.uuid),
    sender.uuid,
    seed.message,
    now() - seed.age::interval
FROM (
    VALUES
    ('5eed0000-0000-4000-c000-000000000001', 'andrewbrown', 'bayko', 'Are you the other Andrew, or am I?', '2 hours'),
    ('5eed0000-0000-4000-c000-000000000002', 'bayko', 'andrewbrown', 'Depends on who asks.', '1 hour 55 minutes'),
    ('5eed0000-0000-4000-c000-000000000003', 'andrewbrown', 'bayko', 'The bill does.', '1 hour 50 minutes'),
    ('5eed0000-0000-4000-c000-000000000004', 'LinYue', 'andrewbrown', 'Nothing is on fire. I thought you should know.', '20 minutes')
) AS seed (uuid, sender, receiver, message, age)
JOIN users AS sender ON sender.handle = seed.sender
JOIN users AS receiver ON receiver.handle = seed.receiver
WHERE NOT EXISTS (SELECT FROM messages WHERE messages.uuid = seed.uuid::uuid);
