"""The text by which contents are told apart: `sha256:` and 64 hexadecimal digits."""

from hashlib import sha256

DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"


def digest_of(content: bytes) -> str:
    """The digest of a content."""
    return f"sha256:{sha256(content).hexdigest()}"
