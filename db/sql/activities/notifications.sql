-- Live replies to the reader and live mentions of the reader, each once, without the reader's own activities.
{activities/visible}
