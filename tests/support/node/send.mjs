// Sends one message, read from standard input as it is: node send.mjs PORT SENDER RECIPIENT
import { readFileSync } from "node:fs";
import { createTransport } from "nodemailer";

const [port, from, to] = process.argv.slice(2);
const transport = createTransport({ host: "127.0.0.1", port: Number(port), secure: false, ignoreTLS: true });
const result = await transport.sendMail({ envelope: { from, to: [to] }, raw: readFileSync(0) });
console.log(result.response);
transport.close();
