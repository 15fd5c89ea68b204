"""The bank and the textures that ship with the package, drawn by us: everyday things built of curved grids, lit, and made pictures."""
