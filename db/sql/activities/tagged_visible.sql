-- Live activities with a hashtag, for an authenticated reader.
{activities/visible}
