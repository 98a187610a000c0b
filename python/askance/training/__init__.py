"""Training, in a process of its own: fit, calibrate, export, check parity, evaluate, publish."""
