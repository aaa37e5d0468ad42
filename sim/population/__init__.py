"""The population lane: a million participants as arrays; production policy decides, an explicit tier is its oracle."""
