"""What sessions that ended badly have heard: kept for whoever asks, and lived through once more."""
