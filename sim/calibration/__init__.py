"""Calibration of the model lane by chaos runs, and its validation on other runs."""
