"""The virtual lane: the real server and clients under a clock we own.

``loop`` owns time, ``pipe`` the bytes of one direction, ``transport`` one end of a connection, ``network`` who reaches
whom and under what faults; ``injector`` and ``lane`` run experiments on them.
"""
