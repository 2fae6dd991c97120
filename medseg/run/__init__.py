"""Floor 5: the verbs. Each takes a pipeline and gives a summary; none prints."""
