"""What several test folders share: harnesses, raw peers and processes. Holds no tests."""
