"""Kills the real server under real clients, again and again, and proves from three sources that nothing was lost."""
