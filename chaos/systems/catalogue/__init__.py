"""The ready-made systems: one TOML file each."""
