"""The laboratories' common core: what the simulator and the chaos laboratory share and the product does not need.

``run`` is the lifecycle of every run, ``system`` what it needs of a lane, ``injector`` the walk over the schedule,
``recorder`` and ``recording`` write the history, ``run_directory`` and ``stored_run`` hold it. ``participants``,
``scripted_client``, ``observer`` and ``fleet`` are the clients, ``canary`` probes a link, ``server_watch`` the server,
and ``health`` is what a laboratory measures of itself. ``asyncio_clock``, ``cancellation`` and ``progress`` serve lanes
and command lines.
"""
