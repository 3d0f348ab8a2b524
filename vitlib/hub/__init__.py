"""An identifier in, a local file out: hubs and downloads; and the class names of published classifiers."""

__all__: list[str] = []
