"""A botanical garden: agents, tools and settings of a server whose pages are shown in the documentation."""

from __future__ import annotations

import asyncio
from typing import Literal

from cloche.agents.function import AgentRun, Write
from cloche.tools.tool import ToolContext

CONFIG = """
default_agent = "gardener"

[agents.gardener]
use = "support.garden:gardener"
description = "Knows the collection and the store, and orders what is missing once you agree."
tools = ["find_plants", "look_in_store"]
examples = [
  "Which ferns need a larger pot this month, and have we got the pots?",
  "Order what is missing for the ferns.",
  "What did we write about orchids?",
]

[agents.buyer]
use = "support.garden:buyer"
description = "Orders things; asks before it does."
tools = ["look_in_store", "order_supplies"]

[agents.surveyor]
use = "support.garden:surveyor"
description = "Counts every leaf, and tells as it goes."
tools = ["walk_the_beds"]

[agents.records]
use = "support.garden:records"
description = "Reads the old card index."
tools = ["find_plants", "read_card"]

[agents.weather]
use = "support.garden:weather"
description = "Reads the station on the roof."
tools = ["read_station"]
run_timeout_s = 3600

[agents.hasty]
use = "support.garden:hasty"
description = "Has a second for everything."
run_timeout_s = 1

[model]
word_delay_s = 0.0

[tools.find_plants]
use = "support.garden:find_plants"
effect = "none"

[tools.look_in_store]
use = "support.garden:look_in_store"
effect = "none"

[tools.order_supplies]
use = "support.garden:order_supplies"
effect = "external"
needs_approval = true

[tools.walk_the_beds]
use = "support.garden:walk_the_beds"
effect = "none"
timeout_s = 600

[tools.read_card]
use = "support.garden:read_card"
effect = "none"

[tools.read_station]
use = "support.garden:read_station"
effect = "none"
timeout_s = 3600

[runs]
drain_s = 0.5

[telemetry]
log_format = "json"
"""

_ANSWER = """\
Three of the five ferns have outgrown their pots. There are pots for **two** of them; the tree fern needs one of 40 cm, \
which is not in store.

| plant | house | pot now | pot needed | in store |
|---|---|---:|---:|---:|
| *Adiantum raddianum* | 2 | 12 cm | 16 cm | 9 |
| *Asplenium nidus* | 2 | 18 cm | 24 cm | 4 |
| *Dicksonia antarctica* | 5 | 30 cm | 40 cm | 0 |

A pot is due as soon as the roots fill four fifths of it:

```python
def needs_repotting(plant: Plant, *, limit: float = 0.8) -> bool:
    \"\"\"Whether the roots fill more of the pot than they should.\"\"\"
    return plant.root_volume_l / plant.pot_volume_l > limit
```

Shall I have the pot for the tree fern ordered?
"""


async def gardener(run: AgentRun) -> None:
    """Look in the collection and in the store, and answer with a table and some code."""
    await run.think(
        "The collection knows the pots and the roots. What is needed then has to be compared with the store."
    )
    await run.call_tool("find_plants", family="ferns", due="this month")
    await run.call_tool("look_in_store", item="clay pots")

    async def writing(write: Write) -> None:
        for piece in _ANSWER.split("\n\n"):
            await write(piece + "\n\n")

    await run.stream(writing)


async def buyer(run: AgentRun) -> str:
    """Order something, when the person agrees."""
    await run.think("One pot is missing. The supplier of the last order still has the best price.")
    await run.call_tool("look_in_store", item="clay pots")
    ordered = await run.call_tool(
        "order_supplies",
        supplier="Hollow Lane Pottery",
        item="clay pot, 40 cm",
        quantity=2,
        delivery="standard",
        note="For the tree fern in house 5. Please leave it at the gate.",
    )
    if ordered.ok:
        return f"Ordered: {ordered.value}."
    return "I have not ordered anything."


async def surveyor(run: AgentRun) -> None:
    """Tell something, and walk for as long as one lets it."""
    await run.say("I begin in house 1 and tell you when I am through. Until now everything is **in leaf**.")
    await run.call_tool("walk_the_beds", houses=8)


async def records(run: AgentRun) -> None:
    """Look for a card, and break."""
    await run.think("The old cards are in the index of 1962.")
    await run.call_tool("find_plants", family="orchids", due="any time")
    await run.call_tool("read_card", number=1962)
    await run.say("I have found the drawer, but")
    raise RuntimeError("the card index is not to be read")


async def weather(run: AgentRun) -> None:
    """Ask a station that does not answer."""
    await run.call_tool("read_station", station="roof")


async def hasty(_run: AgentRun) -> None:
    """Take longer than there is time."""
    await asyncio.get_running_loop().create_future()


async def find_plants(family: str, due: str) -> list[dict[str, object]]:
    """Find plants of the collection.

    Args:
        family: which plants.
        due: when they are due for work.
    """
    await asyncio.sleep(0.3)
    names = {"ferns": ("Adiantum raddianum", "Asplenium nidus", "Dicksonia antarctica")}.get(
        family, ("Vanda coerulea",)
    )
    return [{"plant": name, "house": 2 + 3 * (at // 2), "due": due} for at, name in enumerate(names)]


async def look_in_store(item: str) -> dict[str, object]:
    """See how many there are in store.

    Args:
        item: what to look for.
    """
    await asyncio.sleep(0.2)
    return {"item": item, "by_size_cm": {"16": 9, "24": 4, "40": 0}}


async def order_supplies(
    supplier: str, item: str, quantity: int, delivery: Literal["standard", "express"], note: str
) -> str:
    """Order something for the garden.

    Args:
        supplier: who is to deliver it.
        item: what is wanted.
        quantity: how many.
        delivery: how fast.
        note: what the supplier is to know.
    """
    return f"{quantity} × {item} from {supplier}, {delivery}"


async def walk_the_beds(context: ToolContext, houses: int) -> int:
    """Walk through the houses, slowly.

    Args:
        houses: how many there are.
    """
    for number in range(1, houses + 1):
        context.progress(f"house {number} of {houses}", number / houses)
        await asyncio.sleep(30)
    return houses


async def read_card(number: int) -> str:
    """Read a card of the old index.

    Args:
        number: the number on the card.
    """
    await asyncio.sleep(0.4)
    raise ValueError(f"card {number} is too faded to read")


async def read_station(station: str) -> float:
    """Read a weather station.

    Args:
        station: which one.
    """
    return await asyncio.get_running_loop().create_future()
