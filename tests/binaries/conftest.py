from bare_machine import bare, fake_go

__all__ = ["bare", "fake_go"]
