"""Two small client drivers for a server that sends back what it gets, to read and to begin one's own with."""
