"""One experiment through every lane: what a client goes through, and in which order, must be the same in all."""
