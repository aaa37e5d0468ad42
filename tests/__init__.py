"""Tests of everything, folder by folder like the packages; `conformance` runs one experiment through every lane."""
