"""The simulators: the same experiment under a clock we own.

``virtual`` runs the real code, ``model`` the same machines in SimPy; ``run`` makes a run directory from either.
``cli`` is ``resilience sim``. Knows the product and the reports, never ``chaos``.
"""
