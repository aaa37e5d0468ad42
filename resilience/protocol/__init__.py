"""The wire protocol and its machines. Pure: messages, time and random numbers in; effects and the next deadline out.

``messages``: the messages. ``codec``: their encoding. ``effects``: what drivers must do. ``states``: the tables.
``deadlines`` and ``timeouts``: the queues behind all timers. ``compression``: of large parts. ``client`` and
``server``: the two sides.
"""
