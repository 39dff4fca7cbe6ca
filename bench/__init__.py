"""Measurements, each as a ratio to a ceiling taken in the same run on the same cores: ``python -m bench``."""
