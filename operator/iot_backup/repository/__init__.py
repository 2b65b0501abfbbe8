"""The protocol on top of a store: creation, trust, admission, announcement, commit, catalogue.

Every object of a repository is written and judged here. A store is believed in nothing but the bytes it returns, and those
only as far as a pinned fingerprint, the identity or a signature vouch for them. Time and randomness are arguments.
"""
