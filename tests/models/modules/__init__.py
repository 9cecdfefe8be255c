"""Modules as users write them, also faulty ones: tests copy them, or search this folder."""
