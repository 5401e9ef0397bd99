"""Numbers as text."""


def count_text(count: int) -> str:
    """Return a count with thousands separators; one of more than 15 digits as a power of ten."""
    return f"{count:,}" if count < 10**15 else f"about 10^{len(str(count)) - 1}"
