"""What tests talk to the stack with: a scripted peer on the wire, in virtual time."""
