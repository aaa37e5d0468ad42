"""Tests of the chaos laboratory."""
