-- Authors are found by a hash. Reads and posts go on meanwhile. Who signs up or changes their profile waits,
-- 0.8 s where there are a million people, and is answered 503 after the second that their role allows.
CREATE INDEX users_uuid_idx ON users USING hash (uuid);
