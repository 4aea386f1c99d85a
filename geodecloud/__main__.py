"""``python -m geodecloud`` is ``geodecloud``."""

from geodecloud.cli.commands import main

main(prog_name="geodecloud")
