"""The commands. This room alone prints and exits; each file imports what is heavy inside its
functions.
"""
