-- True. The statement refuses a deleted user, where a response needs no other query.
SELECT admit(%(reader)s)
