"""The custom resources as frozen models: what an object of the API server says, decoded once, with its defaults.

`crds/` leads and these follow it; tests/packaging holds the two together. Nothing here reads a clock, a file or the network.
"""
