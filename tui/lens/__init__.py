"""Both models' view of every token: the map and the choices at a token."""
