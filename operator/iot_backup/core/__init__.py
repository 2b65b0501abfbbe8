"""Every decision, as pure functions: time, ids and observations are arguments. No I/O, no clock, no randomness."""
