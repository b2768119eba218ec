"""Floor 0: pure codecs and values. Bytes in, values out, and back; no state, no clock, no I/O."""
