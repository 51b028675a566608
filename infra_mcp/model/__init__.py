"""The words of the product as frozen types. No I/O, no library but pydantic."""
