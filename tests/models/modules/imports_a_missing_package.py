"""Imports a package that is not installed."""

import no_such_thing  # type: ignore[import-not-found]  # noqa: F401
