"""One script for each schema that was ever shipped. A script that was shipped is never changed."""
