"""The experiment: one YAML file, read strictly."""
