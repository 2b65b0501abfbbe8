"""Runs that nobody starts by hand: the loop of `run` and of `verify --schedule`. What is due, `core.due` decides."""
