"""The event log on disk: JSON Lines, one writer per process, merged by the reader. Knows files, not meaning."""
