"""QuantDuel's own colours, dark and light. Side A wears the primary colour, side B the accent."""

from textual.theme import BUILTIN_THEMES, Theme

DARK = Theme(
    name="quantduel",
    primary="#56b6c2",
    accent="#e0a458",
    secondary="#8094a8",
    success="#8fbf7f",
    warning="#e5c07b",
    error="#e06c75",
    foreground="#d3dae3",
    background="#10151c",
    surface="#161c25",
    panel="#1d2530",
    variables={
        "footer-key-foreground": "#8fa3b8",
        "footer-background": "#10151c",
        "footer-description-foreground": "#8094a8",
        "block-cursor-background": "#2b3644",
        "block-cursor-foreground": "#e8edf3",
        "block-cursor-blurred-background": "#2b3644",
        "block-cursor-text-style": "none",
        "input-selection-background": "#56b6c2 30%",
    },
)

LIGHT = Theme(
    name="quantduel-light",
    primary="#0b7285",
    accent="#a85a00",
    secondary="#5c6b7a",
    success="#2b7a3d",
    warning="#8a6100",
    error="#b3261e",
    foreground="#1d2530",
    background="#fafbfc",
    surface="#f1f4f7",
    panel="#e4e9ef",
    dark=False,
    variables={
        "footer-key-foreground": "#5c6b7a",
        "footer-background": "#fafbfc",
        "footer-description-foreground": "#5c6b7a",
        "block-cursor-background": "#d3dbe4",
        "block-cursor-foreground": "#10151c",
        "block-cursor-blurred-background": "#d3dbe4",
        "block-cursor-text-style": "none",
    },
)


def names() -> list[str]:
    """Every theme that can be chosen: Textual's and these."""
    return sorted({*BUILTIN_THEMES, DARK.name, LIGHT.name})
