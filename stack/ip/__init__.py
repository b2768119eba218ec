"""The network layer of a host: whose addresses are ours, and what ICMP means to those above."""
