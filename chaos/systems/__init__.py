"""Ready-made systems under test: a server and its clients under one name, and how their programs are fetched once."""
