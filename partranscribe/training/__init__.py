"""Training: labels, data, augmentation, loss and the loop."""
