import type { Parts } from "../app/parts";
import type { ThreadAnswer } from "../client/rest";
import { tell, tellError } from "../ui/toasts";
import { listed } from "./threadList";

type Needed = Pick<Parts, "api" | "threads">;

export async function renameThread({ api, threads }: Needed, threadId: string, title: string): Promise<void> {
  const thread = await api.patch<ThreadAnswer>(`/v1/threads/${threadId}`, { title });
  threads.change(threadId, { title: thread.title });
}

/** The thread is put aside, or taken back; the person can undo it for a while. */
export async function archiveThread({ api, threads }: Needed, threadId: string, isWanted: boolean): Promise<void> {
  const thread = await api.post<ThreadAnswer>(`/v1/threads/${threadId}/${isWanted ? "archive" : "unarchive"}`);
  if (!isWanted) {
    threads.add(listed(thread));
    tell("Taken out of the archive.");
    return;
  }
  threads.change(threadId, null);
  const undo = (): void => void archiveThread({ api, threads }, threadId, false).catch(tellError);
  tell("Archived.", { label: "Undo", act: undo });
}

/** The thread is gone and its runs are stopped; the person can have it back for a while. */
export async function deleteThread({ api, threads }: Needed, threadId: string): Promise<void> {
  await api.delete(`/v1/threads/${threadId}`);
  threads.change(threadId, null);
  const undo = async (): Promise<void> => {
    threads.add(listed(await api.post<ThreadAnswer>(`/v1/threads/${threadId}/restore`)));
    tell("It is back.");
  };
  tell("Deleted.", { label: "Undo", act: () => void undo().catch(tellError) });
}
