"""Decoding of responses, in this process or on a server."""
