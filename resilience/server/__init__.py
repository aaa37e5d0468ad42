"""The quiz server: carries out what the room machine decides, over ``websockets`` and a database.

``app`` listens and stops, ``gateway`` is one socket's life, ``hub`` drives rooms, ``committer`` groups commits,
``store`` keeps rows, ``schema`` names the tables.
"""
