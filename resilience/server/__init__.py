"""The quiz server: carries out what its machines decide, over ``websockets`` and a database. Decides nothing itself.

``app`` listens and stops; ``gateway`` drives the connections, ``hub`` one room; ``event_registry`` knows which events
run here; ``committer`` and ``store`` make things durable. ``metrics`` and ``instruments`` count, ``lag`` times the
loop, ``logs`` and ``log_writer`` write lines, ``pages`` answers plain GETs.
"""
