-- Move the journal's tables, and create those for the new values of their rows.
ALTER TABLE public.users SET SCHEMA journal;
ALTER TABLE public.activities SET SCHEMA journal;

CREATE TABLE journal.new_users (
    uuid uuid PRIMARY KEY,
    handle text NOT NULL,
    display_name text NOT NULL,
    bio text,
    cognito_user_id text NOT NULL,
    -- The columns whose value is another than before.
    changes text[] NOT NULL
);

CREATE TABLE journal.replies (
    uuid uuid PRIMARY KEY,
    parent_uuid uuid NOT NULL,
    -- The activity whose end is the reply's end too: the reply itself, or an ancestor that ends before.
    ends_with_uuid uuid NOT NULL
);

-- A message, or the parts of one that is too long.
CREATE TABLE journal.texts (
    activity_uuid uuid NOT NULL,
    uuid uuid PRIMARY KEY,
    -- The part before this one. Null: the first.
    previous_uuid uuid,
    part integer NOT NULL,
    message text NOT NULL,
    search_text text NOT NULL,
    mentions text[] NOT NULL,
    tags text[] NOT NULL,
    is_changed boolean NOT NULL
);
