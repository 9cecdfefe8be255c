"""What a cluster offers to a user, as a site profile.

facts: Slurm's answers as data; queries: asks; storage: file systems; choice: which partition,
account and QoS; profile_text: the file; check: whether a profile still agrees.
"""
