"""Text of strangers on a terminal: what would act on it is shown instead."""


def visible(text: str) -> str:
    """Control codes as a person can see them (ESC as ␛); newlines and tabs stay."""
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    code = ord(character)
    if character in "\n\t":
        return character
    if code < 0x20:
        return chr(0x2400 + code)
    if 0x7F <= code < 0xA0 or code in _DIRECTIONS:
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return character


_DIRECTIONS = frozenset((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
