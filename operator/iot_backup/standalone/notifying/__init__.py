"""Tells people: what was noticed becomes messages in a spool, and a process of its own delivers them. No backup ever waits for it."""
