"""The quiz server: carries out what the room decides, over ``websockets`` and a database. Decides nothing itself.

``app`` listens and stops; ``door`` and ``gateway`` accept connections, ``drain`` closes them; ``event_registry`` knows
which events run here, ``hub`` drives one; ``committer`` and ``store`` make data durable. ``metrics`` and
``instruments`` count, ``lag`` measures the loop, ``logs`` and ``log_writer`` write lines, ``pages`` serves plain GET
requests.
"""
