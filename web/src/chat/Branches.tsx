import { useEffect, useState } from "react";
import { useParts } from "../app/parts";
import { go, paths } from "../app/routes";
import { Icon } from "../ui/Icon";
import { Menu } from "../ui/Menu";

interface Branch {
  readonly thread_id: string;
  readonly title: string;
  readonly branched_from: { readonly thread_id: string; readonly message_id: string };
  readonly created_at: string;
}

/** The other ways in which a conversation went on, where there are any. */
export function Branches({ threadId }: { readonly threadId: string }) {
  const { api } = useParts();
  const [branches, setBranches] = useState<readonly Branch[]>([]);
  useEffect(() => {
    let isHere = true;
    api.get<{ items: Branch[] }>(`/v1/threads/${threadId}/branches`).then(
      (page) => {
        if (isHere) setBranches(page.items);
      },
      () => undefined,
    );
    return () => {
      isHere = false;
    };
  }, [api, threadId]);
  if (branches.length === 0) return null;
  const own = branches.find((one) => one.thread_id === threadId);
  const items = branches
    .filter((one) => one.thread_id !== threadId)
    .map((one, index) => ({
      label: `Branch ${index + 1}: ${one.title}`,
      act: () => go(paths.thread(one.thread_id)),
    }));
  const parent =
    own === undefined
      ? []
      : [{ label: "Where it branched off", act: () => go(paths.thread(own.branched_from.thread_id)) }];
  const all = [...parent, ...items];
  return (
    <Menu label="Branches of this conversation" className="chip chip-button" items={all}>
      <Icon name="branch" size={14} /> {all.length + 1} branches
    </Menu>
  );
}
