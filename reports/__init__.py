"""Analyses any run directory: how many participants came back, how fast and in which state, with intervals.

Reading order: ``frames`` (the log as a table), ``episodes`` (the unit of analysis), ``stats`` and ``survival`` (every
formula, each with its source), ``invariants``, ``summary`` (the result as values), ``expectations`` and ``metrics``
(how it is computed), ``plots`` and ``render`` (how it is shown), ``build`` (all of it for one directory), ``paired``
and ``compare`` (two or more side by side), ``trend``, ``capacity``, ``cli``. The product does not import this package,
and this package does not import the laboratories.
"""
