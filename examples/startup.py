"""Imported by the scripts before anything slow: how they stop, and which lines of other packages they leave out."""

import argparse
import logging
import os
import signal
import sys
import warnings


def script_name():
    return os.path.basename(sys.argv[0])


def end_at_once(number, _):
    """Of a signal during the imports, which may swallow exceptions."""
    os.write(2, f"{script_name()}: stopped while it was starting\n".encode())
    os._exit(128 + number)


def catch_signals(handler):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


catch_signals(end_at_once)
# Of Paddle, at each start and at each network with a batch norm; of matplotlib, at its first start
warnings.filterwarnings("ignore", "No ccache found")
warnings.filterwarnings("ignore", "When training, we now always track global mean and variance")
logging.getLogger("matplotlib.font_manager").addFilter(
    lambda record: not any(words in record.getMessage() for words in ("font cache", "generated new fontManager"))
)
# One line for each of the others
warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {message}\n"

import paddle  # noqa: E402, F401

catch_signals(end_at_once)  # Paddle has taken SIGTERM for itself


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """The text of the script as it is, and each option with its default."""

    def _get_help_string(self, action):
        if action.default is None or action.default is False or "default:" in action.help:
            return action.help
        if isinstance(action.default, list):
            return f"{action.help} (default: {' '.join(action.default) or 'none'})"
        return super()._get_help_string(action)

    def _get_default_metavar_for_optional(self, action):
        return getattr(action.type, "metavar", None) or super()._get_default_metavar_for_optional(action)


def end_with_a_sentence(main, stopped=lambda: "stopped"):
    """Call main(). Errors of what was given to the script, and signals, end it with a sentence.

    stopped: gives that of a signal.
    """

    def interrupt(number, _):
        error = KeyboardInterrupt()
        error.signal = number
        raise error

    catch_signals(interrupt)
    try:
        main()
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        sys.exit(f"{script_name()}: {error}")
    except KeyboardInterrupt as error:
        print(f"{script_name()}: {stopped()}", file=sys.stderr)
        sys.exit(128 + getattr(error, "signal", signal.SIGINT))
