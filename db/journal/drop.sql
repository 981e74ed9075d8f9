-- Drop the journal's tables, and all that the migration needed. A view or a foreign key of another table stops this.
DROP VIEW journal.old_users, journal.old_activities;
DROP TABLE journal.activities, journal.users, journal.new_users, journal.new_activities, journal.replies, journal.texts;
DROP SCHEMA journal;
