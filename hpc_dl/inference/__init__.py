"""Use of a trained model: evaluation, prediction, export."""
