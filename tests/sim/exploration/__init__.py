"""Exploration: generated experiments, what is found, how it is made smaller and kept."""
