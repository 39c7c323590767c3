"""Pure statistics, no I/O: what may be promised from so many observations."""
