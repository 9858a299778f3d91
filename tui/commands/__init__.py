"""Commands that need the screen: one file each, imported when it is called."""
