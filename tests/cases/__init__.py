"""Whole experiments with the verdict that each must get."""
