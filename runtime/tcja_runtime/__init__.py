"""The device half of tcja-deploy: numpy only, everything else is imported when it is used."""
