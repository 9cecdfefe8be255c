"""What turns a network into a learner: task, optimizer, schedule and the supervised
LightningModule.
"""
