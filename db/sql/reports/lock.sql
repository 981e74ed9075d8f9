-- Lock the reporter, before a report is created.
--
-- Reports of one reporter take turns, so that each sees the ones before it. The next statement reads them: this one may
-- have begun before another report was committed.
SELECT users.uuid FROM users WHERE users.uuid = %(reporter_uuid)s FOR NO KEY UPDATE
