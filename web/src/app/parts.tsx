import { createContext, type ReactNode, useContext, useEffect, useMemo, useState } from "react";
import { Outbox, outboxWorld } from "../chat/outbox";
import { ThreadList } from "../chat/threadList";
import { Api } from "../client/api";
import { LiveConnection } from "../client/connection";
import { Store } from "../client/emitter";
import type { AgentAnswer, AgentPage, BrowserSessionAnswer } from "../client/rest";
import type { BrowserSession } from "../client/session";
import { closeLinkGate } from "../ui/LinkGate";
import { forgetToasts } from "../ui/toasts";
import { closePalette } from "./paletteState";

/** What every part of the page works with, for the one person who is signed in. */
export interface Parts {
  readonly who: BrowserSessionAnswer;
  readonly session: BrowserSession;
  readonly api: Api;
  readonly live: LiveConnection;
  readonly outbox: Outbox;
  readonly threads: ThreadList;
  readonly agents: Store<readonly AgentAnswer[]>;
  /** What was written and not sent, by thread: it is there again when the thread is. */
  readonly drafts: Map<string, string>;
  readonly may: (permission: string) => boolean;
  /** The session ends, and nothing of the person is left in this browser. */
  readonly leave: () => Promise<void>;
}

const PartsContext = createContext<Parts | null>(null);

export function useParts(): Parts {
  const parts = useContext(PartsContext);
  if (parts === null) throw new Error("nobody is signed in here");
  return parts;
}

/** The parts of one person, to be keyed by that person; with another person all of them are made anew, and nothing of the first one is left. */
export function PartsOfPerson(props: {
  readonly session: BrowserSession;
  readonly who: BrowserSessionAnswer;
  readonly children: ReactNode;
}) {
  const { session, who } = props;
  const [kept] = useState(() => partsOf(session, who.user.id));
  const parts = useMemo(
    (): Parts => ({
      ...kept,
      who,
      may: (permission) => who.permissions.includes(permission),
      leave: async () => {
        await session.signOut();
        kept.outbox.forget();
      },
    }),
    [kept, session, who],
  );
  useEffect(() => {
    kept.live.open();
    kept.threads.open();
    kept.outbox.open();
    kept.api.get<AgentPage>("/v1/agents").then(
      (page) => kept.agents.set(page.items),
      () => undefined,
    );
    return () => {
      kept.live.close();
      kept.threads.close();
      kept.outbox.close();
      // What lies over the page was this person's, too.
      forgetToasts();
      closePalette();
      closeLinkGate();
    };
  }, [kept]);
  return <PartsContext value={parts}>{props.children}</PartsContext>;
}

function partsOf(session: BrowserSession, userId: string): Omit<Parts, "who" | "may" | "leave"> {
  const api = new Api(session);
  const live = new LiveConnection(api, session);
  return {
    session,
    api,
    live,
    outbox: new Outbox(api, userId, outboxWorld()),
    threads: new ThreadList(api, live),
    agents: new Store<readonly AgentAnswer[]>([]),
    drafts: new Map(),
  };
}
