"""Bech32 as BIP 173 and pyrage understand it."""

from __future__ import annotations

import os

import pyrage
import pytest

from iot_backup.crypto import bech32


@pytest.mark.parametrize(
    "text",
    [
        "A12UEL5L",
        "a12uel5l",
        "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
        "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
    ],
)
def test_accepts_valid_strings_of_bip_173(text: str) -> None:
    prefix, data = bech32.decode(text)
    assert bech32.encode(prefix, data) == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "\x201nwldj5",
        "\x7f1axkwrx",
        "pzry9x0s0muk",
        "1pzry9x0s0muk",
        "x1b4n0q5v",
        "li1dgmt3",
        "de1lg7wt\xff",
        "A1G7SGD8",
        "10a06t8",
        "1qzzfhee",
        "a12UEL5L",
        "",
        "age1",
    ],
)
def test_refuses_invalid_strings(text: str) -> None:
    with pytest.raises(ValueError, match=r"it |case"):
        bech32.decode(text)


def test_refuses_bits_left_over() -> None:
    # Five bits of data are no byte.
    values = [31]
    check = bech32._polymod([*bech32._expanded("a"), *values, *([0] * 6)]) ^ 1
    text = "a1l" + "".join(bech32._ALPHABET[check >> 5 * (5 - i) & 31] for i in range(6))
    with pytest.raises(ValueError, match="length"):
        bech32.decode(text)


def test_agrees_with_pyrage_and_notices_every_single_changed_character() -> None:
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    prefix, data = bech32.decode(recipient)
    assert (prefix, len(data)) == ("age", 32)
    assert bech32.encode("age", data) == recipient
    for at in range(4, len(recipient)):
        other = "q" if recipient[at] != "q" else "p"
        with pytest.raises(ValueError, match="checksum"):
            bech32.decode(recipient[:at] + other + recipient[at + 1 :])


def test_round_trips_any_length() -> None:
    for size in range(70):
        data = os.urandom(size)
        assert bech32.decode(bech32.encode("x", data)) == ("x", data)
