"""Reads the C header into a model, and writes declarations for other languages from it."""
