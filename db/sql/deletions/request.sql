-- Begin the deletion of a user. The statement returns null where another request has begun it.
SELECT request_deletion(%(cognito_user_id)s, %(retention)s, %(request)s)
