"""Damaged and hostile input at random: ``make fuzz``, or a fixed part in CI."""
