"""Keys, signatures and the sealed container. The only place that imports `cryptography`; knows nothing of stores, resources or clocks.

Randomness is made here, and only here: file keys, nonces, salts and identities must never be an argument that a caller could repeat.
"""
