"""The command ``parallelbench``: one verb per question that a user brings.

The core's verbs are declared in :mod:`parallelbench.cli.verbs`; the wings and other packages bring
theirs through the entry point group ``parallelbench.verbs``.  A verb's docstring is its help text.

Exit status: 0 done; 1 our fault (with a traceback), decodes that ended in an error or output that
cannot be written; 2 the request is at fault (one line on stderr); 130 interrupted.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO, cast

import click

from parallelbench.cli import verbs
from parallelbench.cli.groups import PluginGroup
from parallelbench.console.terminal import tell, tell_line, warn
from parallelbench.errors import RequestError


@click.group(
    cls=PluginGroup,
    entry_point_group="parallelbench.verbs",
    noun="verb",
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(version("parallelbench"), prog_name="parallelbench")
@click.pass_context
def cli(context: click.Context) -> None:
    """Measure what parallel decoding costs a diffusion language model.

    Example:
      parallelbench run
    """
    if context.invoked_subcommand is None:
        tell(context.get_help())


for verb in verbs.ALL:
    cli.add_command(verb)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status."""
    if sys.stdout is None:  # whoever started this process closed it
        sys.stdout = io.StringIO()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What the terminal's encoding lacks is shown as "?".
        sys.stdout.reconfigure(errors="replace")
    output = _Output(sys.stdout)
    try:
        with contextlib.redirect_stdout(cast("TextIO", output)):
            status = cli.main(args=arguments, prog_name="parallelbench", standalone_mode=False)
            output.flush()
    except RequestError as error:
        return _refuse(str(error))
    except click.ClickException as error:
        return _refuse(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        warn("interrupted")
        return 130
    except BrokenPipeError:
        return 1
    except _UnwrittenError as error:
        output.give_up()
        warn(f"standard output cannot be written: {error}")
        return 1
    return status if isinstance(status, int) else 0


def _refuse(sentence: str) -> int:
    # What another library says may take many lines; a refusal takes one.
    tell_line(f"parallelbench: {sentence}", err=True)
    return 2


class _UnwrittenError(Exception):
    """Standard output takes no more."""


class _Output:
    """Standard output, whose faults are told apart from those of other files."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._told():
            written: int = self._stream.write(text)
        return written

    def flush(self) -> None:
        with self._told():
            self._stream.flush()

    def give_up(self) -> None:
        """Send what is left in the buffer nowhere: else the interpreter fails on it at its end."""
        with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self.give_up()
            raise  # whoever reads has read enough, which click and rich expect
        except OSError as error:
            raise _UnwrittenError((error.strerror or str(error)).lower()) from error
