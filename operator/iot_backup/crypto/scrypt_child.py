"""A program of its own: scrypt wants 256 MiB for a second, and the worker's memory must not keep them.

stdin: salt in hex, log2 of N, passphrase in hex, one a line. stdout: 32 bytes. Run by path, so it imports the standard library only.
"""

from __future__ import annotations

import hashlib
import sys


def main() -> None:
    salt, log_n, passphrase = (line.strip() for line in sys.stdin)
    n = 1 << int(log_n)
    key = hashlib.scrypt(bytes.fromhex(passphrase), salt=bytes.fromhex(salt), n=n, r=8, p=1, maxmem=1024 * n + (64 << 20), dklen=32)
    sys.stdout.buffer.write(key)


if __name__ == "__main__":
    main()
