"""A person's text on its way to a model: data, set apart from every instruction, never rendered.

It stands between two markers that hold a digest of all that is in the message, so nothing in the message can hold
the marker that ends it; the system message `data` tells the model that nothing between them is to be obeyed.
"""

from hashlib import sha256

DATA_MESSAGE = "data"


def with_document(instruction: str, document: str) -> str:
    """The user's message: what is asked, then the document between its markers. The same for the same two."""
    # Half a surrogate pair cannot be sent, and shall not fail the call.
    data = document.encode("utf-8", "replace")
    before = f"{instruction}\n\n".encode("utf-8", "replace") if instruction else b""
    # Not random, so that equal texts give equal requests; and no text can be made that holds its own digest.
    code = sha256(before + data).hexdigest()[:32]
    return f"{before.decode()}<text {code}>\n{data.decode()}\n</text {code}>"
