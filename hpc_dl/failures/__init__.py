"""Why a run failed: its evidence, one rule per cause, and the verdict."""
