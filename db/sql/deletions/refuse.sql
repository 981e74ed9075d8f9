-- Take back a deletion of this request that is not confirmed. The statement returns whether there was one.
SELECT refuse_deletion(%(sub_hash)s, %(request)s)
