"""One TCP connection, sans-IO (RFC 9293): segments and the time go in, segments and deadlines come out."""
