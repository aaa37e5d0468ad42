"""Coverage-guided fuzzing by hand; needs the package ``atheris``, which nothing else here does."""
