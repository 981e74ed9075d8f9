-- Authors are found by a hash. Reads go on meanwhile; whoever signs up or changes their profile
-- waits for a second where there are a million people.
CREATE INDEX users_uuid_idx ON users USING hash (uuid);
