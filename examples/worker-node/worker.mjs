// worker.mjs: the service "reverse", as RFC 7 (Majordomo, MDP/0.1) has its workers.
import { setTimeout as pause } from "node:timers/promises";
import { Dealer } from "zeromq";

const BROKER = "tcp://127.0.0.1:5555";
const SERVICE = "reverse";
const HEARTBEAT = 2500; // milliseconds, both ways
const PATIENCE = 3 * HEARTBEAT; // a broker that is silent for so long is gone
const PAUSE = 1000; // milliseconds before the next try

const [READY, REQUEST, REPLY, BEAT, DISCONNECT] = [1, 2, 3, 4, 5];

// What the service does. Characters as people see them, not code points: é may be two of those.
const characters = new Intl.Segmenter();
const reverse = (text) => [...characters.segment(text)].map((each) => each.segment).reverse().join("");

let stopping = false;
let stop = () => {};
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    stopping = true;
    stop();
  });
}

// Serve on one socket until it is no use any more; why.
async function serve(socket) {
  // A socket takes one message at a time.
  let sent = Promise.resolve();
  const send = (command, ...frames) =>
    (sent = sent.then(() => socket.send(["", "MDPW01", Buffer.of(command), ...frames])));

  const stopped = new Promise((resolve) => (stop = resolve));
  const heart = setInterval(() => send(BEAT).catch(() => {}), HEARTBEAT);
  try {
    await send(READY, SERVICE);
    console.log("ready");
    while (!stopping) {
      const frames = await Promise.race([stopped, receive(socket)]);
      if (stopping) break;
      if (frames === null) return "the broker is silent";
      const [empty, header, command, address, delimiter, ...body] = frames;
      const valid = empty.length === 0 && header?.toString() === "MDPW01" && command?.length === 1;
      if (valid && command[0] === DISCONNECT) return "the broker said DISCONNECT";
      if (valid && command[0] === REQUEST && delimiter?.length === 0 && body.length > 0) {
        // The address is bytes and goes back as it came, and the empty frame behind it.
        await send(REPLY, address, "", reverse(Buffer.concat(body).toString()));
        console.log(`answered a request of ${body.length} frames`);
      } else if (!valid || command[0] !== BEAT) {
        console.error(`worker.mjs: a message of ${frames.length} frames is not understood`);
      }
    }
    await send(DISCONNECT);
    return "stopped";
  } finally {
    clearInterval(heart);
  }
}

// The next message; null if there is none within PATIENCE.
async function receive(socket) {
  try {
    return await socket.receive();
  } catch (error) {
    if (error.code !== "EAGAIN") throw error;
    return null;
  }
}

while (!stopping) {
  // A new one each time. What could not be sent is not kept, unless this is the end.
  const socket = new Dealer({ receiveTimeout: PATIENCE, linger: 0 });
  socket.connect(BROKER);
  console.log(await serve(socket));
  socket.linger = stopping ? 1000 : 0;
  socket.close();
  if (!stopping) await pause(PAUSE);
}
