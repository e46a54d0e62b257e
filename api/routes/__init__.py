"""One file a resource. A route reads its request, calls one verb or query, and returns a message."""
