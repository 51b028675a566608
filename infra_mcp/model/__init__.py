"""The types of the product, frozen. No I/O, no library but pydantic."""
