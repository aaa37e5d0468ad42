"""The virtual lane: ``loop`` owns time, ``transport`` moves bytes, ``network`` breaks links, ``lane`` runs an experiment.

Nothing here waits for real time, opens a descriptor or starts a thread.
"""
