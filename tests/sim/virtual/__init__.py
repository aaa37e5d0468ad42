"""The virtual lane's own laws: time, transports and faults, each seen from the ends of a connection."""
