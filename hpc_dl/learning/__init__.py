"""Loss, metrics, optimizer and schedule, and the LightningModules that use them."""
