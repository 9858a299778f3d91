"""QuantDuel on a screen: shows what the engine does. Nothing here loads, runs or measures a model."""
