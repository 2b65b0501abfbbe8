"""Object stores behind one protocol, and the repository protocol on top of it. No custom resources, no settings."""
