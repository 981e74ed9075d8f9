-- A condition: the user {user} was not deleted. It reads the deletions that have not ended: of the others no row remains.
-- Its form is that of the view live_activities.
    CASE
        WHEN {user} = ANY (
            ARRAY(
                SELECT deletions.user_uuid
                FROM deletions
                WHERE deletions.finished_at IS NULL AND deletions.confirmed_at IS NOT NULL
            )
        ) THEN NULL
        ELSE true
    END IS NOT NULL
