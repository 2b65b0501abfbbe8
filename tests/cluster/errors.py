"""The one failure of the harness that a person is expected to read."""

from __future__ import annotations


class ClusterError(Exception):
    """Something the harness needs is missing or broke; the message ends with the next step."""
