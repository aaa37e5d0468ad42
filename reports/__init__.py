"""What a run was worth: reads any run directory and says, with intervals, how many came back, how fast and with what.

Reading order: ``frames`` (the log as a table), ``episodes`` (the unit of analysis), ``stats`` and ``survival`` (every
formula, each with its source), ``invariants``, ``summary`` (the result as values), ``expectations`` and
``metrics`` (how it is filled), ``plots`` and ``render`` (how it is shown), ``build`` (all of it for one directory),
``compare`` (two or more side by side), ``cli``. Nothing here is imported by the product, and nothing here imports the
laboratories.
"""
