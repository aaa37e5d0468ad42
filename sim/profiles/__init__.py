"""Network profiles: how links fail, as data; and the outage timelines that are drawn from them, or read from a trace.

Reading order: ``timelines`` (what an outage is, as arrays), ``profile`` (what a profile says), ``mix`` (who has
which), ``sampler`` (from profiles to timelines), ``trace`` (timelines as a file), ``schedule`` (timelines as an
experiment).
"""
