"""The data plane: reads a source and writes a store, or the reverse. Knows nothing of custom resources and has no API token."""
