"""What all tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Hypothesis times each example, and on a busy machine any may take longer than it allows.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
