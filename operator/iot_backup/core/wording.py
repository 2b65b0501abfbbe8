"""How messages speak of where data lies: a claim in a cluster, a path where there is none."""

from __future__ import annotations


def is_path(claim: str) -> bool:
    """Whether an order's `claim` is a path of this machine, which no claim's name can be."""
    return claim.startswith("/")


def place(claim: str) -> str:
    """ "claim historian-data", or "/var/lib/historian"."""
    return claim if is_path(claim) else f"claim {claim}"
