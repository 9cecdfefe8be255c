"""Do we really need a deep model? Simple ones on the same splits, judged by the same metrics."""
