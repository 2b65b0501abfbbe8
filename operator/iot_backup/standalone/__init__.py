"""The engine without Kubernetes: a config file, a state folder and the environment around the worker's use cases.

Here a job of the file becomes an order of `core.spec`, secrets come from the environment, and what the operator would remember is kept
in a folder. Nothing here reads or writes an archive itself, and nothing of Kubernetes is loaded.
"""
