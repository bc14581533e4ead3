"""Decoding responses, in this process or on a server."""
