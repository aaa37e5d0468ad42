"""Bundled experiments, one TOML file each; registered as a catalogue by entry point."""
