-- The reader's uuid: an expression, null for a reader without a row in `users`.
--
-- The sub-select hides the user from the planner. For a user with few rows the planner would find a plan that seems
-- cheaper than the generic one, and plan each execution anew. That takes longer than the read.
(SELECT reader.uuid FROM users AS reader WHERE reader.cognito_user_id = %(reader)s)
