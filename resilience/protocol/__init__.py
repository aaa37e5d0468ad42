"""The wire protocol and its machines. Pure: messages, the time, random numbers in; effects, the next deadline out.

``messages`` what is said, ``codec`` how it is written, ``effects`` what drivers must do, ``states`` the tables,
``deadlines`` and ``timeouts`` the queues behind all timers, ``compression`` of large parts; ``client`` and ``server``
the two sides.
"""
