"""Tests of finding, supervising and controlling Toxiproxy, with the real server."""
