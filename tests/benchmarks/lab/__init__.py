"""What the benchmarks stand on: servers in processes of their own, a crowd in others, rows that are kept.

The crowd speaks the wire format by hand, the same code for every server, so that the client is not what is measured.
"""
