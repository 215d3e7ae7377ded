// Drives ad-hoc commands (XEP-0050) by @xmpp/client: lists them, runs one, fills in its forms.
//
//   node adhoc.mjs '{"service": "xmpp://127.0.0.1:5222", "jid": "alice@localhost", "password": "...",
//                    "to": "bot@localhost/zxmpp", "node": "echo", "stages": [{"text": "hi"}]}'
//
// Prints one line of JSON: the commands, the fields of each form, and the notes and fields at the end.
import { client, jid, xml } from "@xmpp/client";

const COMMANDS = "http://jabber.org/protocol/commands";
const ITEMS = "http://jabber.org/protocol/disco#items";
const ask = JSON.parse(process.argv[2]);
const me = jid(ask.jid);
const xmpp = client({
  service: ask.service, domain: me.domain, username: me.local, password: ask.password,
});

const formOf = (command) => command.getChild("x", "jabber:x:data");
const valuesOf = (field) => field.getChildren("value").map((value) => value.text());
const fieldsOf = (form) => Object.fromEntries(
  (form?.getChildren("field") ?? []).map((field) => [
    field.attrs.var ?? "", { type: field.attrs.type, label: field.attrs.label, values: valuesOf(field) },
  ]),
);
const rowsOf = (form) => (form?.getChildren("item") ?? []).map(
  (item) => item.getChildren("field").map((field) => valuesOf(field)[0]),
);

async function execute(attributes, form) {
  const answer = await xmpp.iqCaller.set(
    xml("command", { xmlns: COMMANDS, node: ask.node, ...attributes }, form), ask.to, 10_000,
  );
  return answer;
}

async function drive() {
  const items = await xmpp.iqCaller.get(xml("query", { xmlns: ITEMS, node: COMMANDS }), ask.to, 10_000);
  const seen = { commands: items.getChildren("item").map((item) => item.attrs.node), forms: [] };
  let command = await execute({ action: "execute" });
  for (const stage of ask.stages) {
    seen.forms.push(fieldsOf(formOf(command)));
    const fields = Object.entries(stage).map(([name, value]) =>
      xml("field", { var: name }, [value].flat().map((each) => xml("value", {}, String(each)))));
    const action = command.getChild("actions")?.attrs.execute ?? "complete";
    command = await execute(
      { sessionid: command.attrs.sessionid, action },
      xml("x", { xmlns: "jabber:x:data", type: "submit" }, fields),
    );
  }
  seen.status = command.attrs.status;
  seen.notes = command.getChildren("note").map((note) => [note.attrs.type, note.text()]);
  seen.result = fieldsOf(formOf(command));
  seen.rows = rowsOf(formOf(command));
  return seen;
}

xmpp.on("error", (error) => { console.error(error); process.exitCode = 1; });
await xmpp.start();
try {
  console.log(JSON.stringify(await drive()));
} finally {
  await xmpp.stop();
}
