"""The version of the package, in the one place where the build and the files that are written find it."""

__version__ = "0.1.0"
