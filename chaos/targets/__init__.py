"""Systems under test: this program's own quiz server, a command, an address that is there already."""
