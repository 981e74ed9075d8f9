-- Report the user with the handle, with a copy of the public profile as evidence.
INSERT INTO reports (uuid, reporter_uuid, reported_uuid, category, comment, evidence)
SELECT
    %(uuid)s,
    %(reporter_uuid)s,
    (profile.item ->> 'uuid')::uuid,
    %(category)s,
    %(comment)s,
    jsonb_build_object('user', profile.item)
FROM (
{users/profile}
) AS profile
RETURNING reports.uuid
