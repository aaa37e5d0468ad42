"""What a run is, as values: who takes part, what breaks when, what must hold. Pure but for ``loader.py``."""
