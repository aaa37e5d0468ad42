"""One participant's whole story from the stored run of any lane.

``story`` collects it, ``words`` says it, ``cli`` prints it.
"""
