"""A user's module with state that is not in its checkpoints: the rehearsal must find that out."""

from own_model import Own

STEPS_SINCE_START = 0


class Forgetful(Own):
    def training_step(self, batch, batch_idx):
        global STEPS_SINCE_START
        STEPS_SINCE_START += 1
        return super().training_step(batch, batch_idx) * STEPS_SINCE_START
