"""Tests of the package. They need the library and nothing from PyPI; numpy is used if it is there."""
