"""The only code that talks to the Kubernetes API server: thin verbs over dicts. Decides nothing."""
