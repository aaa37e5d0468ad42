"""The quiz server: carries out what the room decides, over ``websockets`` and a database. Decides nothing itself.

``app`` listens and stops; ``door`` and ``gateway`` let guests in, ``drain`` sends them home; ``event_registry`` knows
which events run here, ``hub`` drives one; ``committer`` and ``store`` make things durable. ``metrics`` and
``instruments`` count, ``lag`` times the loop, ``logs`` and ``log_writer`` write lines, ``pages`` answers plain GETs.
"""
