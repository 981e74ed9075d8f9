-- Take back a deletion of this request that is not confirmed. The statement returns whether none is left: an earlier
-- call may have taken the deletion back, and its result was lost.
SELECT
    refuse_deletion(%(sub_hash)s, %(request)s)
    OR NOT EXISTS (SELECT FROM deletions WHERE deletions.sub_hash = %(sub_hash)s)
