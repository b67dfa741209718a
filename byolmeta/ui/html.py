"""Text from files and people, made harmless for gr.HTML."""

import html


def safe(text: str) -> str:
    """Escapes HTML and what Gradio's templates would evaluate: ${...}, {{...}} and backticks."""
    text = html.escape(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    for sign in "${}`\\":
        text = text.replace(sign, f"&#{ord(sign)};")
    return text


def tile(pictures: dict, number: int, side: int = 64) -> str:
    """One picture of a sprite sheet as a span; `pictures` is the sheets' descriptor."""
    sheet, place = divmod(number, pictures["per_sheet"])
    column, row = place % pictures["columns"], place // pictures["columns"]
    rows = -(-min(pictures["per_sheet"], pictures["n"] - sheet * pictures["per_sheet"]) // pictures["columns"])
    return (
        f'<span class="tile" style="width:{side}px;height:{side}px;background-image:url(&quot;'
        f"{safe(pictures['sheets'][sheet])}&quot;);background-position:-{column * side}px -{row * side}px;"
        f'background-size:{pictures["columns"] * side}px {rows * side}px"></span>'
    )
