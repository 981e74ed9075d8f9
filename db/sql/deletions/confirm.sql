-- Confirm a deletion with the user pool's outcome.
SELECT confirm_deletion(%(sub_hash)s, %(outcome)s)
