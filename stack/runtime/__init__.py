"""The runtime: Trio drives a host over a link, and gives applications streams and listeners."""
