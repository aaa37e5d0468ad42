"""``resilience sim replay``: one participant's story on a terminal, or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resilience.errors import ExitCode
from resilience.extras import needs_extra
from resilience.terminal import lost_output

if TYPE_CHECKING:
    from .story import EpisodeStory, Story


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("participant")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
@click.option("--all", "everything", is_flag=True, help="Show pings, pongs and messages of the room too.")
@needs_extra("sim")
def replay(run: Path, participant: str, *, as_json: bool, everything: bool) -> int:
    """Tell the story of PARTICIPANT in the stored RUN of any lane: network, client, server, episodes, broken rules.

    PARTICIPANT is a name as in the report (alpha-0001) or a public id.

    Exit codes: 0 told, 2 no such run or participant, 4 a file of the run cannot be read or the output not written.
    """
    from reports.pages import printable

    from .story import story_of

    story = story_of(run, participant)
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(story), indent=1).decode())
    else:
        click.echo("\n".join(printable(line) for line in lines(story, everything=everything)))
    return ExitCode.PASS if lost_output() is None else ExitCode.HARNESS  # the output is all that this command makes


def lines(story: Story, *, everything: bool) -> Iterator[str]:
    """The story, line by line: times in seconds of the run, who, what."""
    ids = f", {' then '.join(story.ids)}" if story.ids else ""
    yield f"{story.participant} ({story.cohort}{ids}) in {story.experiment}, lane {story.lane}, seed {story.seed}"
    width = max((len(entry.who) for entry in story.entries), default=0)
    left_out = 0
    for entry in sorted(story.entries, key=lambda entry: entry.t):
        if entry.routine and not everything:
            left_out += 1
        else:
            yield f"{entry.t:10.3f}  {entry.who:<{width}}  {entry.what}"
    if left_out:
        yield f"{left_out:,} pings, pongs and messages of the room are left out; --all shows them"
    if story.note:
        yield story.note
    yield from (_episode(episode) for episode in story.episodes)
    if not story.episodes:
        yield "no episode: no fault struck it"
    yield from (f"broken: {rule}: {detail}" for rule, detail in story.broken.items())


def _episode(episode: EpisodeStory) -> str:
    known = (
        ("came back by", episode.came_back_by),
        ("lost at", _seconds(episode.detected_at)),
        ("noticed by", episode.detected_by),
        ("link healed at", _seconds(episode.healed_at)),
        ("restored at", _seconds(episode.restored_at)),
        ("dials", episode.attempts),
        ("downtime", _seconds(episode.downtime_s)),
        ("excess", _seconds(episode.excess_s)),
    )
    faults = episode.fault_id
    if episode.last_fault_id != faults:
        faults += f" to {episode.last_fault_id}"
    said = ", ".join(f"{name} {value}" for name, value in known if value is not None)
    return f"episode {faults} at {episode.fault_at:.3f} s: {episode.outcome}; {said}"


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f} s"
