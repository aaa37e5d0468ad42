"""One participant's story from the stored run of any lane."""
