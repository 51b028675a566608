"""What may become live at all: small rules on rendered objects, whatever action or delivery brings them."""
