-- Take back a deletion that is not confirmed. The statement returns whether there was one.
SELECT refuse_deletion(%(sub_hash)s)
