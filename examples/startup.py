"""Imported by the scripts before anything slow: they start and end as the `vitlib` command does."""

import os
import sys

from vitlib.cli.parsing import HelpFormatter
from vitlib.cli.startup import end_at_once, import_paddle, interrupt, quiet, start

__all__ = ["HelpFormatter", "end_with_a_sentence", "script_name"]


def script_name():
    return os.path.basename(sys.argv[0])


def say(text):
    print(f"{script_name()}: {text}", file=sys.stderr)


start(script_name())
with quiet(say):
    import_paddle(script_name())
end_at_once(script_name())  # by a signal during the imports to come


def end_with_a_sentence(main):
    """Call main(). Errors of what was given to the script, and signals, end it with a sentence."""
    interrupt()
    with quiet(say):
        try:
            main()
        except (ValueError, OSError, ImportError, FloatingPointError) as error:
            say(error)
            sys.exit(1)
        except KeyboardInterrupt as error:
            say("stopped")
            sys.exit(128 + getattr(error, "signal", 2))
