import { expect, test } from "vitest";
import type { MemberEventAnswer, StepAnswer } from "../../src/client/rest";
import { effectsOf, isFailure } from "../../src/console/runEffects";

const AT = "2026-11-21T12:00:00Z";

function called(id: string, effect: string, tool = "refund"): MemberEventAnswer {
  const shown = { tool_call_id: id, effect, tool };
  return { seq: 1, type: "tool_executing", at: AT, execution_id: null, agent: null, bytes: 10, shown };
}

function step(reference: string, state: StepAnswer["state"], epoch = 1, code: string | null = null): StepAnswer {
  return {
    index: 1,
    kind: "tool",
    name: "refund",
    state,
    reference,
    code,
    epoch,
    started_at: AT,
    ended_at: null,
    duration_ms: null,
  };
}

test("calls that change nothing are no effects", () => {
  expect(effectsOf([step("a", "done")], [called("a", "none")], true)).toEqual([]);
});

test("an effect is done or failed as its step is", () => {
  const steps = [step("a", "done"), step("b", "failed"), step("c", "done", 1, "tool_failed")];
  const events = [called("a", "external"), called("b", "internal"), called("c", "external")];

  expect(effectsOf(steps, events, true).map((effect) => effect.state)).toEqual(["done", "failed", "failed"]);
});

test("what was begun is running, and unknown once nobody works on it any more", () => {
  const events = [called("a", "external")];

  expect(effectsOf([step("a", "started")], events, false)[0]?.state).toBe("running");
  expect(effectsOf([step("a", "started")], events, true)[0]?.state).toBe("unknown");
  expect(effectsOf([step("a", "started", 1), step("z", "done", 2)], events, false)[0]?.state).toBe("unknown");
  expect(effectsOf([], events, true)[0]?.state).toBe("unknown");
});

test("a call that was made again after a crash is one effect", () => {
  const events = [called("a", "external"), called("a", "external")];

  expect(effectsOf([step("a", "done")], events, true)).toHaveLength(1);
});

test("events that tell of a failure are known from their type, or from not being ok", () => {
  expect(isFailure({ type: "agent_failed", shown: {} })).toBe(true);
  expect(isFailure({ type: "tool_completed", shown: { ok: false } })).toBe(true);
  expect(isFailure({ type: "tool_completed", shown: { ok: true } })).toBe(false);
  expect(isFailure({ type: "message_delta", shown: {} })).toBe(false);
});
