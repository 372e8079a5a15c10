"""The languages of multilingual Whisper models, as BCP 47 codes."""

from __future__ import annotations

_CODES = """
af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr
ht hu hy id is it ja jv ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc
pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo zh
"""

LANGUAGES = tuple(_CODES.split())
"""BCP 47 codes of what all multilingual Whisper models know. Large-v3 and its kin know "yue"
(Cantonese) as well."""

# Whisper, or its older tokenizers, write these with codes that ISO 639 has withdrawn.
_WITHDRAWN = {"jw": "jv", "iw": "he"}


def from_whisper(code: str) -> str:
    """Turn Whisper's code into BCP 47."""
    return _WITHDRAWN.get(code, code)


def primary(language: str) -> str:
    """Drop the region from a BCP 47 code, because Whisper knows none: "en-GB" is "en"."""
    return language.split("-", 1)[0].lower()
