"""Peers and their asks: words in, typed actions on, one ack back."""
