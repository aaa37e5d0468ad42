"""One script for each schema that was ever shipped. A shipped script is never changed."""
