import { useCallback, useState } from "react";
import { useParts } from "../app/parts";
import { paths } from "../app/routes";
import { textOf } from "../app/SignIn";
import type { MemberAnswer, MemberPage, UserAnswer } from "../client/rest";
import { Confirm } from "../ui/Confirm";
import { Field } from "../ui/Field";
import { Icon } from "../ui/Icon";
import { Menu, type MenuItem } from "../ui/Menu";
import { type Column, Table } from "../ui/Table";
import { Trouble } from "../ui/Trouble";
import { moment } from "../ui/time";
import { tell, tellError } from "../ui/toasts";
import { MemberSessions } from "./MemberSessions";
import { StateChip } from "./StateChip";
import type { PanelProps } from "./sections";
import { usePages } from "./usePages";

const PAGE = 50;
const PATH = "/v1/admin/users";

type Asked =
  | { readonly what: "add" }
  | { readonly what: "disable" | "role" | "name" | "sessions"; readonly user: MemberAnswer };

/** Who is in the tenant: added, disabled, let in again, given another role, signed out. */
export function Users({ id }: PanelProps) {
  const { api } = useParts();
  const [asked, setAsked] = useState<Asked | null>(null);
  const get = useCallback(
    (cursor: string | null, signal: AbortSignal) => api.get<MemberPage>(PATH, { limit: PAGE, cursor }, signal),
    [api],
  );
  const { value, error, again, more } = usePages(get);
  const users = id === null ? value?.items : value?.items.filter((user) => user.id === id);
  const close = (): void => setAsked(null);
  return (
    <>
      <div className="filters">
        {id !== null && <a href={paths.console("users")}>All users</a>}
        <span className="head-space" />
        <button type="button" className="button button-strong" onClick={() => setAsked({ what: "add" })}>
          <Icon name="add" size={15} /> Add a user
        </button>
      </div>
      <Trouble error={error} onAgain={again} />
      {value === null && error === null && <p className="page-note">Looking…</p>}
      {users !== undefined && <UserTable users={users} onAsk={setAsked} onChange={again} />}
      {value?.hasMore === true && (
        <button type="button" className="button" onClick={more}>
          Show more
        </button>
      )}
      {asked !== null && <Asking asked={asked} onClose={close} onChange={again} />}
    </>
  );
}

function UserTable(props: {
  readonly users: readonly MemberAnswer[];
  readonly onAsk: (asked: Asked) => void;
  readonly onChange: () => void;
}) {
  const { users, onAsk, onChange } = props;
  const { api, who } = useParts();
  const enable = async (user: MemberAnswer): Promise<void> => {
    await api.post(`${PATH}/${user.id}/enable`);
    tell(`${user.email} may sign in again.`);
    onChange();
  };
  const actions = (user: MemberAnswer): MenuItem[] => [
    { label: "Sessions", icon: "person", act: () => onAsk({ what: "sessions", user }) },
    { label: "Change the name", icon: "edit", act: () => onAsk({ what: "name", user }) },
    {
      label: user.role === "admin" ? "Make a member" : "Make an administrator",
      icon: "gear",
      act: () => onAsk({ what: "role", user }),
    },
    user.status === "active"
      ? { label: "Disable", icon: "stop", isDangerous: true, act: () => onAsk({ what: "disable", user }) }
      : { label: "Enable", icon: "play", act: () => void enable(user).catch(tellError) },
  ];
  const columns: Column<MemberAnswer>[] = [
    {
      title: "Name",
      cell: (user) => (
        <>
          {user.name || <span className="hint">no name</span>}{" "}
          {user.id === who.user.id && <span className="chip chip-agent">you</span>}
        </>
      ),
    },
    { title: "E-mail", cell: (user) => user.email },
    { title: "Role", isShort: true, cell: (user) => user.role },
    { title: "State", isShort: true, cell: (user) => <StateChip state={user.status} /> },
    {
      title: "Here last",
      isShort: true,
      cell: (user) =>
        user.last_seen_at === null ? <span className="hint">not known</span> : moment(user.last_seen_at),
    },
    { title: "Sessions", isNumber: true, cell: (user) => user.live_sessions },
    { title: "Since", isShort: true, cell: (user) => moment(user.created_at) },
    {
      title: "Runs",
      cell: (user) => (
        <a href={paths.console("runs", null, { live: "all", user: user.id })} aria-label={`Runs of ${user.email}`}>
          Runs
        </a>
      ),
    },
    { title: "Actions", cell: (user) => <Menu label={`Actions for ${user.email}`} items={actions(user)} /> },
  ];
  return <Table label="Users" columns={columns} rows={users} keyOf={(user) => user.id} />;
}

function Asking(props: { readonly asked: Asked; readonly onClose: () => void; readonly onChange: () => void }) {
  const { asked, onClose, onChange } = props;
  const { api } = useParts();
  const done = (text: string): void => {
    tell(text);
    onChange();
  };
  switch (asked.what) {
    case "add":
      return <AddUser onClose={onClose} onDone={(user) => done(`${user.email} can sign in now.`)} />;
    case "sessions":
      return <MemberSessions user={asked.user} onClose={onClose} />;
    case "disable": {
      const { user } = asked;
      const disable = async (): Promise<void> => {
        await api.post(`${PATH}/${user.id}/disable`);
        done(`${user.email} can no longer sign in.`);
      };
      return (
        <Confirm title={`Disable ${user.email}?`} action="Disable" isDangerous act={disable} onClose={onClose}>
          <p>Every session ends at once, and nobody can sign in with this address. What is there stays.</p>
        </Confirm>
      );
    }
    case "role":
      return <ChangeRole user={asked.user} onClose={onClose} onDone={done} />;
    case "name": {
      const { user } = asked;
      const rename = async (form: FormData): Promise<void> => {
        await api.patch(`${PATH}/${user.id}`, { name: textOf(form, "name").trim() });
        done("The name is changed.");
      };
      return (
        <Confirm title={`Name of ${user.email}`} action="Change" act={rename} onClose={onClose}>
          <Field label="Name" name="name" defaultValue={user.name} hasFocus />
        </Confirm>
      );
    }
  }
}

function ChangeRole(props: {
  readonly user: MemberAnswer;
  readonly onClose: () => void;
  readonly onDone: (text: string) => void;
}) {
  const { user, onClose, onDone } = props;
  const { api } = useParts();
  const role = user.role === "admin" ? "member" : "admin";
  const change = async (): Promise<void> => {
    await api.patch(`${PATH}/${user.id}`, { role });
    onDone(`${user.email} is ${role === "admin" ? "an administrator" : "a member"} now.`);
  };
  return (
    <Confirm
      title={role === "admin" ? `Make ${user.email} an administrator?` : `Make ${user.email} a member?`}
      action={role === "admin" ? "Make an administrator" : "Make a member"}
      isDangerous={role === "admin"}
      act={change}
      onClose={onClose}
    >
      <p>
        {role === "admin"
          ? "An administrator sees everybody's runs without their content, and decides who may sign in."
          : "A member sees and does only what is their own."}{" "}
        It counts at once, in every session.
      </p>
    </Confirm>
  );
}

function AddUser(props: { readonly onClose: () => void; readonly onDone: (user: UserAnswer) => void }) {
  const { onClose, onDone } = props;
  const { api } = useParts();
  const add = async (form: FormData): Promise<void> => {
    const body = {
      email: textOf(form, "email"),
      name: textOf(form, "name").trim(),
      password: textOf(form, "password"),
      role: textOf(form, "role"),
    };
    onDone(await api.post<UserAnswer>(PATH, body));
  };
  return (
    <Confirm title="Add a user" action="Add" act={add} onClose={onClose}>
      <Field label="Name" name="name" hasFocus />
      <Field label="E-mail" name="email" type="email" isRequired />
      <Field
        label="First password"
        name="password"
        type="password"
        autoComplete="new-password"
        hint="Tell it to them on another way; they can change it in their settings."
        isRequired
      />
      <p className="field">
        <label htmlFor="add-role">Role</label>
        <select id="add-role" name="role" defaultValue="member">
          <option value="member">Member: only what is their own</option>
          <option value="admin">Administrator: this console, too</option>
        </select>
      </p>
    </Confirm>
  );
}
