"""The wire protocol and its machines. Pure: messages, the time, random numbers in; effects, the next deadline out.

``messages`` what is said, ``codec`` how it is written, ``effects`` what drivers must do, ``states`` the tables,
``client`` one participant's side, ``session`` the server's side of one participant, ``room`` one event: all sessions
and the game, ``participant`` a client that plays by script. Of the room: ``agenda`` its deadlines, ``presence`` what
players see of one another, ``desk`` where answers wait for their commit, ``stage`` what the game looks like from the
seats.
"""
