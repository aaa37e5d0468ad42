"""Laws of the repository itself: who imports whom, what ships, how long things may be, what prose may name."""
