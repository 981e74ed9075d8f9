-- Live replies to a user and live mentions of the user, each once, without the user's own activities.
{activities/visible}
