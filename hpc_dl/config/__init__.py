"""The experiment: one YAML file, parsed strictly."""
