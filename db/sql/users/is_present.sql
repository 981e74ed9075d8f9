-- A condition: the user {user} was not deleted. It reads the deletions that have not ended: of the others no row remains.
    {user} <> ALL (
        ARRAY(
            SELECT deletions.user_uuid
            FROM deletions
            WHERE deletions.finished_at IS NULL AND deletions.confirmed_at IS NOT NULL AND deletions.user_uuid IS NOT NULL
        )
    )
