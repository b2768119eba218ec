"""What a path does to packets: delay, rate and queues, losses and other damage. Time and randomness are arguments."""
