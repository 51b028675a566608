"""What is wrong with a zone of the repository."""


class ZoneFault(Exception):  # noqa: N818 - translated with the file's name where that is known
    """A zone that is not read, or not edited; half a sentence, without any of its values."""
