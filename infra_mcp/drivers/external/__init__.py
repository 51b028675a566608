"""Delivery by others: the content is committed, and the evidence that policy names shows that it is live."""
