"""Backs up and restores the volumes of IoT platforms: signed, encrypted archives that stock tools can open."""

__version__ = "0.1.0"
