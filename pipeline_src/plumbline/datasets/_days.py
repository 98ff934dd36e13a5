"""Dates as values of keys: text such as 2000-01-31, or the date that YAML parses from it without quotes."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator


def _iso(value: Any) -> str:
    """The date as text.

    Raises:
        ValueError: the value is not a date, or has another format, such as 03/01/2000.
    """
    expected = "expected a date such as 2000-01-31 (year, month, day)"
    if isinstance(value, datetime):
        if value.replace(tzinfo=None).time() != datetime.min.time():
            raise ValueError(f"{expected}, found the time {value}")
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        raise ValueError(f"{expected}, found {value!r}")
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError as error:
        raise ValueError(f"{expected}, found {value!r}: {error}") from error


Day = Annotated[str, BeforeValidator(_iso)]
"""A date, stored as text."""
