-- Report the user with the handle, with a copy of the public profile as evidence.
INSERT INTO reports (uuid, reporter_uuid, reported_uuid, category, comment, evidence)
SELECT
    %(uuid)s,
    %(reporter_uuid)s,
    profile.uuid,
    %(category)s,
    %(comment)s,
    jsonb_build_object('user', to_jsonb(profile))
FROM (
{users/profile}
) AS profile
RETURNING reports.uuid
