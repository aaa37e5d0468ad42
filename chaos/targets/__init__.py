"""Systems under test that the real lane can start. Each is one module; all implement the same protocol."""
