"""Links: what carries packets between a host and the world; file descriptors live here and in the runtime."""
