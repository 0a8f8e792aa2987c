"""Contract suites: what every back end of a port owes, as tests, for ours and for yours.

A port of undrift states its promises in its docstrings. For each port there is a module here with a class of pytest
tests, one for each promise and each documented exception. Inherit from it, give it the fixture it asks for, and run
pytest: whoever passes can be plugged in.

This package needs pytest, which undrift itself does not install. Nothing in undrift imports it.
"""
