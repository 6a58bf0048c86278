"""How it was made: the training, where the time went, on what data and by which commands."""

from __future__ import annotations

from html import escape

from compat_cli.pages import plots
from compat_cli.pages.sections.results import Results


def trainings(results: Results) -> str:
    """The losses of the trainings, and where the time went, as HTML."""
    seconds = results["seconds"]
    most = max(seconds.values()) or 1.0
    parts = "".join(
        f'<dt>{escape(name)}</dt><dd><i style="width:{100 * value / most:.1f}%"></i>{value:.1f} s</dd>'
        for name, value in seconds.items()
    )
    return (
        '<div class="columns"><section><h2>Training</h2>'
        "<p>The loss of each model under its own classifier. The compatible model is also trained under the large "
        f"model’s frozen classifier and towards its embeddings (method {escape(results['method'])}).</p>"
        f"{plots.training(results['training'])}</section>"
        f'<section><h2>Where the time went</h2><dl class="times">{parts}</dl>'
        f'<p class="note">{sum(seconds.values()):.0f} seconds in '
        f"all on {results['machine']['cpus']} CPUs.</p></section></div>"
    )


def colophon(results: Results) -> str:
    """Data, models, versions and commands, as HTML."""
    machine, data, models = results["machine"], results["data"], results["models"]
    counts = ", ".join(f"{data[split]:,} {split}" for split in ("train", "query", "gallery") if split in data)
    spaces = results["spaces"]
    versions = f"compat-sdk {results['compat_sdk']}, Python {machine['python']}"
    facts = {
        "data": f"{data['description']} ({counts})",
        "large model": f"{models['gallery']}, space {spaces['gallery']}",
        "small model": f"{models['query']}, space {spaces['query']}"
        + (f", searches {spaces['gallery']}" if results["evaluation"]["query"]["declared"] else ""),
        "made": f"{results['created']}, {versions}, {machine['system']}",
    }
    if "seed" in results:
        facts["seed"] = str(results["seed"])
    rows = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return (
        f"<section><h2>How this was made</h2><dl>{rows}</dl>"
        f"<p>The same by hand:</p>{_commands(results['commands'])}</section>"
    )


# A handler in the button itself: the page has no script, and nothing from elsewhere.
_COPY = (
    "navigator.clipboard.writeText(this.nextElementSibling.innerText)"
    ".then(()=>{this.textContent='copied'},()=>{getSelection().selectAllChildren(this.nextElementSibling)})"
)


def _commands(text: str) -> str:
    """Commands with a button that copies them; where the browser forbids that, it selects them."""
    return f'<div class="copy"><button type="button" onclick="{_COPY}">copy</button><pre>{escape(text)}</pre></div>'
