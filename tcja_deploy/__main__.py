"""`python -m tcja_deploy` is the command `tcja-deploy`."""

from tcja_deploy.cli import main

main()
