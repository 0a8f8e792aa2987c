"""The floor under everything: ids, time, hashes, errors, the context of a call, and operations declared once.

Words: *id* (UUIDv7, 32 hexadecimal characters), *clock*, *context*, *operation*, *transport*. Nothing here imports
another room.
"""
