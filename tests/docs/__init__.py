"""The documentation is true: what is made from the code is up to date, what is not is held to it."""
