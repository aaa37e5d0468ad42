"""Exploration: many seeds of generated experiments over the real code, judged, shrunk and kept.

``schedule_experiments`` and ``crash_experiments`` generate, ``seeds`` runs and judges one, ``shrinking`` makes the
smallest experiment of a finding, ``workers`` runs many seeds in processes, ``records`` keeps them in a directory,
``exploring`` puts these together, ``cli`` is the command.
"""
