"""The checks of a run's history, one module a subject; ``reports.invariants`` is their one registry.

Each check reads the few columns and kinds that it needs through ``selection`` and judges all cases at once; only small
tables of suspects are replayed row by row.
"""
