"""`python -m nas_service.cli` is `hourglass`."""

from nas_service.cli import main

main()
