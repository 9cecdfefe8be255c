"""Imputation, scaling, projection and augmentation of the inputs."""
