"""``python -m geodecloud`` is ``geodecloud``."""

from geodecloud.cli import main

main(prog_name="geodecloud")
