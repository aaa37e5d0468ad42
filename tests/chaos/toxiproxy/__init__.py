"""Tests of finding, supervising and driving Toxiproxy, against the real one."""
