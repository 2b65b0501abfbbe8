"""The custom resources as frozen pydantic models: decode, defaults, nothing else. No kopf, no clock, no I/O."""
