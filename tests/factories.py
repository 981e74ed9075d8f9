"""Rows that tests are about, and a bystander whose rows they are not about."""

import itertools
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import Connection

# The one whom a test must not touch, and whom they speak with.
BYSTANDER, FRIEND = "bystander", "friend"
BELONGINGS = """
    WITH mine AS (
        SELECT uuid FROM message_groups WHERE %(uuid)s IN (lesser_user_uuid, greater_user_uuid)
    )
    SELECT 'users', users::text FROM users WHERE uuid = %(uuid)s
    UNION ALL
    SELECT 'activities', activities::text FROM activities WHERE %(uuid)s IN (user_uuid, reply_to_user_uuid)
    UNION ALL
    SELECT 'message_groups', message_groups::text FROM message_groups JOIN mine USING (uuid)
    UNION ALL
    SELECT 'messages', messages::text FROM messages JOIN mine ON mine.uuid = messages.message_group_uuid
    UNION ALL
    SELECT 'last_messages', last_messages::text FROM last_messages
    WHERE %(uuid)s IN (lesser_user_uuid, greater_user_uuid)
    UNION ALL
    SELECT 'likes', likes::text FROM likes
    WHERE user_uuid = %(uuid)s OR activity_uuid IN (SELECT uuid FROM activities WHERE user_uuid = %(uuid)s)
    UNION ALL
    SELECT 'reposts', reposts::text FROM reposts
    WHERE user_uuid = %(uuid)s OR activity_uuid IN (SELECT uuid FROM activities WHERE user_uuid = %(uuid)s)
    UNION ALL
    SELECT 'follows', follows::text FROM follows WHERE %(uuid)s IN (follower_uuid, followed_uuid)
    UNION ALL
    SELECT 'follow_counts', follow_counts::text FROM follow_counts WHERE user_uuid = %(uuid)s
    UNION ALL
    SELECT 'mutes', mutes::text FROM mutes WHERE %(uuid)s IN (muter_uuid, muted_uuid)
    UNION ALL
    SELECT 'blocks', blocks::text FROM blocks WHERE %(uuid)s IN (blocker_uuid, blocked_uuid)
    UNION ALL
    SELECT 'mentionings', mentionings::text FROM mentionings
    WHERE user_uuid = %(uuid)s OR activity_uuid IN (SELECT uuid FROM activities WHERE user_uuid = %(uuid)s)
    UNION ALL
    SELECT 'read_markers', read_markers::text FROM read_markers WHERE user_uuid = %(uuid)s
    UNION ALL
    SELECT 'taggings', taggings::text FROM taggings WHERE user_uuid = %(uuid)s
    UNION ALL
    SELECT 'reports', reports::text FROM reports WHERE %(uuid)s IN (reporter_uuid, reported_uuid)
    UNION ALL
    SELECT 'idempotency_keys', idempotency_keys::text FROM idempotency_keys WHERE user_uuid = %(uuid)s
    ORDER BY 1, 2
"""

# Values that are no message.
BLANK = ["", " ", "\t\r\n", "\u00a0", "\u2003\u3000", "\u0085\x1c\x1f", None, 1, True, [], ["x"], {}, {"message": "x"}]


@dataclass(frozen=True)
class User:
    """A person that a test has made."""

    uuid: UUID
    handle: str
    display_name: str
    cognito_user_id: str


@dataclass(frozen=True)
class Activity:
    """An activity that a test has made."""

    uuid: UUID
    message: str
    author: User


class Make:
    """Rows, made by the owner."""

    def __init__(self, owner: Connection) -> None:
        self.owner = owner
        self.numbers = itertools.count(1)

    def user(self, handle: str | None = None, *, display_name: str = "Test User", bio: str | None = None) -> User:
        """Insert a user with an unused handle."""
        number = next(self.numbers)
        user = (handle or f"somebody{number}", display_name, f"sub-{number}")
        (uuid,) = self._row(
            "INSERT INTO users (handle, display_name, cognito_user_id, bio) VALUES (%s, %s, %s, %s) RETURNING uuid",
            *(*user, bio),
        )
        return User(uuid, *user)

    def activity(
        self,
        author: User,
        message: str = "hello",
        *,
        age: str = "0 s",
        ttl: str | None = "7 days",
        reply_to: Activity | None = None,
    ) -> Activity:
        """Insert an activity, `age` old, that expires after `ttl`, or never without one."""
        (uuid,) = self._row(
            """
            INSERT INTO activities (
                user_uuid, message, reply_to_activity_uuid, reply_to_user_uuid, created_at, expires_at
            )
            SELECT %s, %s, %s, %s, now() - age, now() - age + %s::interval FROM (VALUES (%s::interval)) AS given (age)
            RETURNING uuid
            """,
            author.uuid,
            message,
            reply_to and reply_to.uuid,
            reply_to and reply_to.author.uuid,
            ttl,
            age,
        )
        return Activity(uuid, message, author)

    def like(self, activity: Activity, *users: User, age: str = "0 s") -> None:
        """Insert likes of a live activity by `users`, all `age` old."""
        self.react("likes", activity, *users, age=age)

    def repost(self, activity: Activity, *users: User, age: str = "0 s") -> None:
        """Insert reposts of a live activity by `users`, all `age` old."""
        self.react("reposts", activity, *users, age=age)

    def react(self, table: str, activity: Activity, *users: User, age: str = "0 s") -> None:
        """Insert likes or reposts of a live activity by `users`, all `age` old."""
        statement = f"INSERT INTO {table} (activity_uuid, user_uuid, created_at) VALUES (%s, %s, now() - %s::interval)"
        self.owner.cursor().executemany(
            statement.encode(),
            [(activity.uuid, user.uuid, age) for user in users],
        )

    def likes(self, activity: Activity) -> list[UUID]:
        """Return the users whose likes of an activity are stored, also when the activity has expired."""
        return self.reactions("likes", activity)

    def reposts(self, activity: Activity) -> list[UUID]:
        """Return the users whose reposts of an activity are stored, also when the activity has expired."""
        return self.reactions("reposts", activity)

    def reactions(self, table: str, activity: Activity) -> list[UUID]:
        """Return the users whose likes or reposts of an activity are stored."""
        statement = f"SELECT user_uuid FROM {table} WHERE activity_uuid = %s ORDER BY user_uuid"
        return [uuid for (uuid,) in self.owner.execute(statement.encode(), [activity.uuid])]

    def miscounted(self) -> list[tuple[UUID, int, int]]:
        """Return the activities, with both counts, that have another number of likes or reposts."""
        statement = """
            SELECT uuid, likes_count, reposts_count FROM activities
            WHERE (likes_count, reposts_count) <> (
                (SELECT count(*) FROM likes WHERE activity_uuid = activities.uuid),
                (SELECT count(*) FROM reposts WHERE activity_uuid = activities.uuid)
            )
        """
        return self.owner.execute(statement).fetchall()

    def follow(self, follower: User, *users: User, age: str = "0 s") -> None:
        """Insert follows of `users`, all `age` old."""
        self.owner.cursor().executemany(
            "INSERT INTO follows (follower_uuid, followed_uuid, created_at) VALUES (%s, %s, now() - %s::interval)",
            [(follower.uuid, user.uuid, age) for user in users],
        )

    def follows(self) -> list[tuple[str, str]]:
        """Return the handles of follower and followed user of each follow, without those around the bystander."""
        statement = """
            SELECT follower.handle, followed.handle
            FROM follows
            JOIN users AS follower ON follower.uuid = follower_uuid
            JOIN users AS followed ON followed.uuid = followed_uuid
            WHERE follower.handle NOT IN (%(bystander)s, %(friend)s)
            ORDER BY 1, 2
        """
        return self.owner.execute(statement, {"bystander": BYSTANDER, "friend": FRIEND}).fetchall()

    def mute(self, muter: User, muted: User, *, ttl: str | None = None) -> None:
        """Insert a mute that ends after `ttl`, or never without one."""
        statement = "INSERT INTO mutes (muter_uuid, muted_uuid, expires_at) VALUES (%s, %s, now() + %s::interval)"
        self.owner.execute(statement, [muter.uuid, muted.uuid, ttl])

    def block(self, blocker: User, blocked: User) -> None:
        """Insert a block. Follows between the two users stay."""
        statement = "INSERT INTO blocks (blocker_uuid, blocked_uuid) VALUES (%s, %s)"
        self.owner.execute(statement, [blocker.uuid, blocked.uuid])

    def miscounted_follows(self) -> list[tuple[str, int, int]]:
        """Return the handles of users, with their two counts, that have other numbers of follows."""
        statement = """
            WITH counted AS (
                SELECT
                    handle,
                    COALESCE(followers_count, 0) AS followers_count,
                    COALESCE(following_count, 0) AS following_count,
                    (SELECT count(*) FROM follows WHERE followed_uuid = users.uuid) AS followers,
                    (SELECT count(*) FROM follows WHERE follower_uuid = users.uuid) AS following
                FROM users LEFT JOIN follow_counts ON user_uuid = users.uuid
            )
            SELECT handle, followers_count, following_count FROM counted
            WHERE (followers_count, following_count) <> (followers, following)
        """
        return self.owner.execute(statement).fetchall()

    def expire(self, activity: Activity) -> None:
        """Let an activity expire now."""
        self.owner.execute("UPDATE activities SET expires_at = now() WHERE uuid = %s", [activity.uuid])

    def mention(self, activity: Activity, *people: User) -> None:
        """Have an activity mention people."""
        self.owner.cursor().executemany(
            """
            INSERT INTO mentionings (activity_uuid, user_uuid, expires_at, created_at)
            SELECT uuid, %s, expires_at, created_at FROM activities WHERE uuid = %s
            """,
            [(person.uuid, activity.uuid) for person in people],
        )

    def tag(self, activity: Activity, *tags: str) -> Activity:
        """Have an activity contain hashtags, and return it."""
        statement = """
            INSERT INTO taggings (activity_uuid, tag, user_uuid, expires_at, created_at)
            SELECT uuid, unnest(%s::text[]), user_uuid, expires_at, created_at FROM activities WHERE uuid = %s
        """
        self.owner.execute(statement, [list(tags), activity.uuid])
        return activity

    def report(
        self,
        reporter: User,
        reported: User,
        *,
        activity: Activity | None = None,
        category: str = "spam",
        age: str = "0 s",
    ) -> UUID:
        """Insert a report, `age` old, of a user or of an activity of the user."""
        (uuid,) = self._row(
            """
            INSERT INTO reports (
                reporter_uuid, reported_uuid, activity_uuid, category, evidence, created_at, expires_at
            )
            SELECT %s, %s, %s, %s, '{}', now() - age, now() - age + interval '180 days'
            FROM (VALUES (%s::interval)) AS given (age)
            RETURNING uuid
            """,
            *(reporter.uuid, reported.uuid, activity and activity.uuid, category, age),
        )
        return UUID(str(uuid))

    def reports(self) -> list[tuple[str, str, str, str | None]]:
        """Return reporter, reported user, category and comment of each report, without those around the bystander."""
        statement = """
            SELECT reporter.handle, reported.handle, category, comment
            FROM reports
            JOIN users AS reporter ON reporter.uuid = reporter_uuid
            JOIN users AS reported ON reported.uuid = reported_uuid
            WHERE reporter.handle <> %s
            ORDER BY reports.created_at, reports.uuid
        """
        return self.owner.execute(statement, [BYSTANDER]).fetchall()

    def conversation(self, one: User, other: User, *messages: str) -> UUID:
        """Insert a conversation in which `one` has sent `messages`, the last a minute ago, each a minute apart."""
        (uuid,) = self._row(
            """
            INSERT INTO message_groups (uuid, lesser_user_uuid, greater_user_uuid, last_message_at)
            SELECT message_group_uuid(one, other), LEAST(one, other), GREATEST(one, other), now() - interval '1 month'
            FROM (VALUES (%s::uuid, %s::uuid)) AS given (one, other)
            RETURNING uuid
            """,
            one.uuid,
            other.uuid,
        )
        for age, message in zip(range(len(messages), 0, -1), messages, strict=True):
            self.message(uuid, one, message, age=f"{age} minutes")
        return UUID(str(uuid))

    def message(
        self, message_group_uuid: UUID, sender: User, message: str, *, age: str = "0 s", ttl: str | None = None
    ) -> UUID:
        """Insert a message of a conversation, `age` old, that expires after `ttl`, or never without one."""
        (uuid,) = self._row(
            """
            INSERT INTO messages (message_group_uuid, user_uuid, message, created_at, expires_at)
            SELECT %s, %s, %s, now() - age, now() - age + %s::interval FROM (VALUES (%s::interval)) AS given (age)
            RETURNING uuid
            """,
            *(message_group_uuid, sender.uuid, message, ttl, age),
        )
        return UUID(str(uuid))

    def counts(self) -> dict[UUID, int]:
        """How many replies each live activity counts, without those around the bystander."""
        return dict(self._others("uuid, replies_count"))

    def messages(self) -> list[str]:
        """Return the messages of all live activities, without those around the bystander."""
        return [message for (message,) in self._others("message")]

    def _others(self, columns: str) -> list[tuple[Any, ...]]:
        statement = f"""
            SELECT {columns} FROM live_activities
            WHERE user_uuid NOT IN (SELECT uuid FROM users WHERE handle IN ('{BYSTANDER}', '{FRIEND}'))
        """
        return self.owner.execute(statement.encode()).fetchall()

    def _row(self, statement: str, *parameters: object) -> tuple[Any, ...]:
        row = self.owner.execute(statement.encode(), parameters).fetchone()
        assert row is not None
        return row


def make_bystander(make: Make) -> User:
    """Insert a user with a row of each kind, and a friend."""
    bystander, friend = make.user(BYSTANDER, display_name="By Stander", bio="Looks on."), make.user(FRIEND)
    posted = make.tag(make.activity(bystander, "a bystander's"), "bystander")
    make.activity(friend, "a reply to a bystander's", reply_to=posted)
    make.activity(bystander, "a bystander's reply", reply_to=make.activity(friend, "a friend's"))
    make.like(posted, bystander, friend)
    make.repost(posted, bystander, friend)
    make.follow(bystander, friend)
    make.follow(friend, bystander)
    make.mute(bystander, friend)
    make.block(bystander, friend)
    make.mention(make.activity(friend, "about the @bystander"), bystander)
    make.report(bystander, friend)
    make.owner.execute("INSERT INTO read_markers VALUES (%s, 'notifications', now())", [bystander.uuid])
    group = make.conversation(bystander, friend, "a bystander's message", "and one more")
    make.message(group, bystander, "a bystander's message that ends", ttl="1 day")
    make.owner.execute(
        "INSERT INTO idempotency_keys (user_uuid, key, fingerprint, made) VALUES (%s, 'key', '', %s)",
        [bystander.uuid, posted.uuid],
    )
    return bystander


def belongings(owner: Connection, user: User) -> list[tuple[str, str]]:
    """All rows that are about a person."""
    return owner.execute(BELONGINGS, {"uuid": user.uuid}).fetchall()
