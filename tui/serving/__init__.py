"""The screen in a browser of this machine, for whoever has the address."""
