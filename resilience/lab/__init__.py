"""The laboratories' common core: what the simulator and the chaos laboratory share and the product does not need.

``participants`` says who takes part in an experiment, ``scripted_client`` how a client plays by itself, ``observer``
records what a client was shown, ``fleet`` runs many clients in one process, ``canary`` probes a link from outside, and
``run_directory`` lays out where a run leaves its history.
"""
