"""Somebody to whom an approval was given decides it over a live connection, and follows nothing of its thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cloche.agents.function import AgentRun
from cloche.auth.opening import SignedIn
from cloche.ids import ApprovalId
from cloche.tools.tool import tool
from support.edges import Edges
from support.world import World

Enter = Callable[..., Awaitable[SignedIn]]


async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


async def paying(run: AgentRun) -> str:
    return str((await run.call_tool("pay", amount=10)).value)


async def test_a_delegate_decides_over_a_live_connection(edges: Edges, enter: Enter, world: World):
    world.programs.add("paying", paying, tools={"pay": tool(pay, needs_approval=True)})
    ada, bob = await enter("ada"), await enter("bob")

    async with edges.live(ada.access_token) as hers, edges.live(bob.access_token) as his:
        sent = await hers.ask("send", text="pay", client_message_id="1")
        await hers.ask("subscribe", thread_id=sent["thread_id"])
        asked = (await hers.until(sent["run_id"], "approval_requested"))[-1]["data"]["approval_id"]
        early = await his.ask("decide", approval_id=asked, decision="approve")
        scope = await edges.services.sign_in.scope_of(ada.principal)
        await edges.services.decisions.delegate(scope, ApprovalId(asked), user_id=bob.principal.user_id)
        given = (await hers.until(sent["run_id"], "approval_delegated"))[-1]
        wrong = await his.ask("decide", approval_id=asked, decision="approve", arguments={"amount": "x"})
        decided = await his.ask("decide", approval_id=asked, decision="approve", arguments={"amount": 3})
        late = await hers.ask("decide", approval_id=asked, decision="deny")
        others = [
            await his.ask("subscribe", thread_id=sent["thread_id"]),
            await his.ask("cancel", run_id=sent["run_id"]),
            await his.ask("send", text="x", thread_id=sent["thread_id"], client_message_id="1"),
        ]
        events = await hers.until(sent["run_id"])

    assert early["error"]["code"] == "not_found"
    assert given["data"]["to"] == bob.principal.user_id
    assert (wrong["error"]["code"], wrong["error"]["details"]["place"]) == ("invalid_input", "$.arguments.amount")
    assert (decided["ok"], decided["state"]) == (True, "approved")
    assert late["error"]["details"] == {"state": "approved", "decided_by": bob.principal.user_id}
    assert [answer["error"]["code"] for answer in others] == ["not_found"] * 3
    assert his.events == []
    [message] = [event for event in events if event["type"] == "message_completed"]
    assert message["data"]["parts"][0]["text"] == "paid 3"
