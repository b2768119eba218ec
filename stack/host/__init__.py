"""A host as a whole, sans-IO: packets and the time go in, packets and deadlines come out."""
