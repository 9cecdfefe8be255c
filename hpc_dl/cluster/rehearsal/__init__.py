"""The rehearsal of an experiment: prove on the user's site that an interrupted run resumes.

Whether a requeue works depends on the site: its queues, settings and file system, and the time that
a checkpoint takes there. Therefore it is tried before the real run relies on it, and the times are
measured from which ``submit`` derives the signal lead.
"""
