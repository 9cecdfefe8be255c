"""Building blocks of networks, in pure torch.nn."""
