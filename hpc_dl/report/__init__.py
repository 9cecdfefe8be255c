"""``hpc-dl report``: runs or a sweep as one page, HTML or Markdown; free of torch."""
