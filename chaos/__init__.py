"""The chaos laboratory: real servers, real clients and a real Toxiproxy between them.

May import ``resilience`` and ``reports``, never ``sim``. Nothing lives in this file.
"""
