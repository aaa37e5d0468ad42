"""Tests of ``reports``: synthetic logs whose right answers are known by hand."""
