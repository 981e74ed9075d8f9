-- The home feed of an authenticated reader.
{activities/visible}
