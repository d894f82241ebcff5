import { Store } from "./emitter";
import { ApiError, asApiError } from "./errors";
import { send } from "./fetching";
import type { BrowserSessionAnswer, LoginBody, SetUpBody } from "./rest";

const PATH = "/v1/browser-session";
const LOCK = "cloche.session";
/** The session is refreshed this long before its access token ends; half of its time, where that is less. */
const EARLY_MS = 60_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export type Session =
  | { readonly state: "opening" }
  | { readonly state: "unreachable"; readonly error: ApiError }
  | { readonly state: "signed_out"; readonly reason: SignedOutReason }
  | { readonly state: "signed_in"; readonly who: BrowserSessionAnswer };

export type SignedOutReason = "not_yet" | "here" | "elsewhere" | "ended";

type Word = { readonly kind: "signed_in" | "signed_out" | "refreshed" };

/** What a browser offers, so that tests can offer less. */
export interface Surroundings {
  readonly fetch: typeof fetch;
  readonly locks: LockManager | undefined;
  readonly channel: BroadcastChannel | undefined;
}

export function surroundings(): Surroundings {
  return {
    fetch: (input, init) => fetch(input, init),
    locks: navigator.locks,
    channel: typeof BroadcastChannel === "undefined" ? undefined : new BroadcastChannel("cloche.session"),
  };
}

/**
 * Who is signed in in this browser. The tokens are in cookies that no script reads; here are the person and the CSRF
 * token, in memory only. One tab refreshes for all; what happens to the session in one tab is known in the others.
 */
export class BrowserSession {
  readonly session = new Store<Session>({ state: "opening" });
  private renewing: Promise<boolean> | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly around: Surroundings = surroundings()) {
    this.around.channel?.addEventListener("message", (event: MessageEvent<Word>) => void this.heard(event.data));
  }

  get who(): BrowserSessionAnswer | null {
    const session = this.session.get();
    return session.state === "signed_in" ? session.who : null;
  }

  /** Finds out who is signed in, as after a reload. */
  async open(): Promise<void> {
    try {
      this.entered(await this.ask("GET", ""));
    } catch (thrown) {
      const error = asApiError(thrown);
      if (error.status === 401) await this.refresh("not_yet");
      else this.session.set({ state: "unreachable", error });
    }
  }

  async signIn(body: LoginBody): Promise<void> {
    await this.begin("", body);
  }

  async setUp(body: SetUpBody): Promise<void> {
    await this.begin("/setup", body);
  }

  async signOut(): Promise<void> {
    try {
      await this.ask("DELETE", "");
    } catch (thrown) {
      // Whoever is not signed in any more is signed out.
      if (asApiError(thrown).status !== 401) throw thrown;
    }
    this.tell("signed_out");
    this.left("here");
  }

  /** The profile changed: it is asked for again. */
  async reload(): Promise<void> {
    this.entered(await this.ask("GET", ""));
  }

  /** Whether the session goes on; false when it is over, and everybody here knows it then. Many at once ask once. */
  async refresh(reason: SignedOutReason = "ended"): Promise<boolean> {
    this.renewing ??= this.renew(reason).finally(() => {
      this.renewing = null;
    });
    return await this.renewing;
  }

  private async renew(reason: SignedOutReason): Promise<boolean> {
    const work = async (): Promise<boolean> => {
      try {
        const found = await this.standing();
        this.entered(found ?? (await this.ask("POST", "/refresh")));
        return true;
      } catch (thrown) {
        const error = asApiError(thrown);
        if (error.status === 401) {
          this.left(reason);
          return false;
        }
        if (this.session.get().state === "opening") this.session.set({ state: "unreachable", error });
        throw error;
      }
    };
    const { locks } = this.around;
    return locks === undefined ? await work() : await locks.request(LOCK, work);
  }

  /** The session as another tab may have refreshed it meanwhile; null when it must be refreshed. */
  private async standing(): Promise<BrowserSessionAnswer | null> {
    try {
      const found = await this.ask("GET", "");
      return found.expires_in * 1000 > EARLY_MS ? found : null;
    } catch (thrown) {
      if (asApiError(thrown).status === 401) return null;
      throw thrown;
    }
  }

  private async begin(path: string, body: object): Promise<void> {
    const who = await this.ask("POST", path, body);
    try {
      // A browser keeps these cookies only over an encrypted connection, or from its own machine.
      this.entered(await this.ask("GET", ""));
    } catch (thrown) {
      if (asApiError(thrown).status !== 401) throw thrown;
      throw new ApiError(
        {
          code: "cookies_refused",
          message:
            "The password is right, but this browser did not keep the sign-in: it does so over https only, " +
            "or at http://localhost. Ask whoever runs this server for its https address.",
          retryable: false,
          details: {},
          request_id: null,
        },
        401,
      );
    }
    if (who.user.id) this.tell("signed_in");
  }

  private entered(who: BrowserSessionAnswer): void {
    const left = who.expires_in * 1000;
    clearTimeout(this.timer);
    const wait = Math.max(1_000, left - EARLY_MS, Math.min(left, 2 * EARLY_MS) / 2);
    this.timer = setTimeout(() => void this.refresh().catch(() => undefined), Math.min(wait, LONGEST_TIMER_MS));
    this.session.set({ state: "signed_in", who });
  }

  private left(reason: SignedOutReason): void {
    clearTimeout(this.timer);
    // Whoever signed out knows why; that the session is over is what follows, and may be heard first or last.
    const isKnown = this.session.get().state === "signed_out" && (reason === "ended" || reason === "not_yet");
    if (!isKnown) this.session.set({ state: "signed_out", reason });
  }

  private tell(kind: Word["kind"]): void {
    this.around.channel?.postMessage({ kind } satisfies Word);
  }

  private async heard(word: Word): Promise<void> {
    if (word.kind === "signed_out") this.left("elsewhere");
    else await this.open();
  }

  private async ask(method: string, path: string, body?: object): Promise<BrowserSessionAnswer> {
    const headers: Record<string, string> = { accept: "application/json" };
    const who = this.who;
    if (who !== null) headers["x-csrf-token"] = who.csrf_token;
    if (body !== undefined) headers["content-type"] = "application/json";
    const answer = await send(this.around.fetch, PATH + path, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
    });
    return answer as BrowserSessionAnswer;
  }
}
