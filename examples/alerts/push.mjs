// push.mjs HOST TEXT: one alert.
import { Push } from "zeromq";

const address = "tcp://127.0.0.1:5556";
const [host, text] = process.argv.slice(2);
// immediate: wait for the bot, and do not queue for one that is not there.
const socket = new Push({ immediate: true, sendTimeout: 5000, linger: 5000 });
socket.connect(address);
try {
  await socket.send(JSON.stringify({ host, text }));
} catch (error) {
  if (error.code !== "EAGAIN") throw error;
  console.error(`push.mjs: nobody takes alerts at ${address}`);
  process.exitCode = 1;
}
socket.close();
