import { Page } from "../ui/Page";

export default function Settings(props: { readonly section: string }) {
  return <Page title={props.section}>{null}</Page>;
}
