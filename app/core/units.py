"""Amounts as people read them."""

CREDIT = 1_000_000


def show_credits(microcredits: int) -> str:
    """Return micro-credits as a decimal string in credits, without trailing zeros."""
    sign = "-" if microcredits < 0 else ""
    whole, part = divmod(abs(microcredits), CREDIT)
    return f"{sign}{whole}" + (f".{part:06d}".rstrip("0") if part else "")
